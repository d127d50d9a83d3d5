package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// credential finds whom a task runs as: "name", "1000", "name:group", "1000:1000". It is nil for "",
// and for the user the supervisor runs as anyway.
func credential(name string) (*syscall.Credential, error) {
	if name == "" {
		return nil, nil
	}
	name, groupName, _ := strings.Cut(name, ":")
	cred := new(syscall.Credential)
	u, err := user.Lookup(name)
	if _, numeric := number(name); err != nil && numeric {
		u, err = user.LookupId(name)
	}
	uid, numeric := number(name)
	switch {
	case err == nil:
		uid, _ = number(u.Uid)
		cred.Gid, _ = number(u.Gid)
		ids, err := u.GroupIds()
		if err != nil {
			return nil, fmt.Errorf("look up groups of user %q: %w", name, err)
		}
		for _, id := range ids {
			if gid, ok := number(id); ok {
				cred.Groups = append(cred.Groups, gid)
			}
		}
	case numeric:
		cred.Gid = uid // known to no file: a number is enough to run as
	default:
		return nil, fmt.Errorf("look up user %q: no such user on this machine", name)
	}
	cred.Uid = uid
	if groupName != "" {
		if cred.Gid, err = groupID(groupName); err != nil {
			return nil, err
		}
	}
	if os.Geteuid() != 0 {
		if int(cred.Uid) == os.Geteuid() && int(cred.Gid) == os.Getegid() {
			return nil, nil
		}
		return nil, fmt.Errorf("run as user %q: the agent needs to run as root for that", name)
	}
	return cred, nil
}

func groupID(name string) (uint32, error) {
	if g, err := user.LookupGroup(name); err == nil {
		gid, _ := number(g.Gid)
		return gid, nil
	}
	gid, ok := number(name)
	if !ok {
		return 0, fmt.Errorf("look up group %q: no such group on this machine", name)
	}
	return gid, nil
}

func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

// lookPath finds a command the way a shell would that had the task's environment and directory.
func lookPath(command, dir string, env []string) (string, error) {
	if strings.ContainsRune(command, '/') {
		return command, nil
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			path = value
		}
	}
	for _, p := range filepath.SplitList(path) {
		if !filepath.IsAbs(p) {
			p = filepath.Join(dir, p)
		}
		file := filepath.Join(p, command)
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("run %q: not found in PATH %q", command, path)
}

// pipe is one named pipe of a task, both ends open.
type pipe struct {
	path string
	r    int // nonblocking
	w    int // blocking, open for reading too: a task never gets SIGPIPE
}

// makePipe makes the named pipe, or opens the one that is there, for a task of that user.
func makePipe(path string, cred *syscall.Credential) (p pipe, err error) {
	p = pipe{path: path, r: -1, w: -1}
	defer func() {
		if err != nil {
			p.close()
			err = fmt.Errorf("make output pipe: %w", err)
		}
	}()
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return p, err
	}
	if cred != nil {
		if err := os.Chown(path, int(cred.Uid), int(cred.Gid)); err != nil {
			return p, err
		}
	}
	if p.w, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return p, err
	}
	p.r, err = unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	return p, err
}

func (p pipe) close() {
	for _, fd := range []int{p.r, p.w} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	os.Remove(p.path)
}
