package lan

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// home is the namespace of this process. It is opened before any thread of this process leaves it.
var home = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/self/ns/net") })

// apart runs f on a thread of its own, which comes home afterwards. f may change the thread's network namespace.
func apart(f func() error) error {
	back, err := home()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := f()
		if back := unix.Setns(int(back.Fd()), unix.CLONE_NEWNET); back != nil {
			done <- errors.Join(err, fmt.Errorf("leave network namespace: %w", back))
			return // still locked, so the thread ends
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// within runs f on a thread in the namespace that is mounted on path.
func within(path string, f func() error) error {
	there, err := os.Open(path)
	if err != nil {
		return err
	}
	defer there.Close()
	return apart(func() error {
		if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// found makes a namespace, mounts it on path and runs f in it.
func found(path string, f func() error) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	file.Close()
	err = apart(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount network namespace: %w", err)
		}
		return f()
	})
	if err != nil {
		err = errors.Join(err, discard(path))
	}
	return err
}

// discard kills all that runs in the namespace on path, and removes it.
func discard(path string) error {
	if inode, mounted := namespaceOn(path); mounted {
		if err := killAll(inode); err != nil {
			return err
		}
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// namespaceOn is the namespace that is mounted on path, if one is.
func namespaceOn(path string) (inode uint64, mounted bool) {
	var fs unix.Statfs_t
	var file unix.Stat_t
	if unix.Statfs(path, &fs) != nil || fs.Type != unix.NSFS_MAGIC || unix.Stat(path, &file) != nil {
		return 0, false
	}
	return file.Ino, true
}

// stat are the fields of /proc/PID/stat from the state on, nil if the process is gone.
func stat(pid int) []string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.Fields(rest)
}

// inhabitants are the living processes in a namespace, and their descendants wherever they are (containers have namespaces
// of their own), but not this process.
func inhabitants(inode uint64) []int {
	want := fmt.Sprintf("net:[%d]", inode)
	entries, _ := filepath.Glob("/proc/[0-9]*")
	children := map[int][]int{}
	seen := map[int]bool{os.Getpid(): true}
	var found []int
	for _, entry := range entries {
		pid, _ := strconv.Atoi(filepath.Base(entry))
		fields := stat(pid)
		if len(fields) < 2 || fields[0] == "Z" || pid == os.Getpid() {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], pid)
		if namespace, err := os.Readlink(entry + "/ns/net"); err == nil && namespace == want {
			found, seen[pid] = append(found, pid), true
		}
	}
	for i := 0; i < len(found); i++ {
		for _, child := range children[found[i]] {
			if !seen[child] {
				found, seen[child] = append(found, child), true
			}
		}
	}
	return found
}

// patience bounds the wait for processes that were killed.
const patience = 10 * time.Second

// killAll kills all inhabitants of a namespace, and returns when there are none. (One whose parent does not wait for it
// remains as a zombie.)
func killAll(inode uint64) error {
	for deadline := time.Now().Add(patience); ; {
		left := inhabitants(inode)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("kill all of a machine: processes %v do not end", left)
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended meanwhile
		}
		<-time.After(2 * time.Millisecond)
	}
}
