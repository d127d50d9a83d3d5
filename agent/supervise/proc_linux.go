package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// stat is what /proc/PID/stat says of a process.
type stat struct {
	pid, ppid, pgrp, session int
	state                    byte
	start                    uint64 // clock ticks since boot; with the PID and the boot it names a process
	ticks                    uint64 // processor time, user and system
	rss                      int64  // pages
	status                   int    // wait status, once it is a zombie and if we may know
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(b))
}

// parseStat reads one line of /proc/PID/stat. The command in it may contain anything.
func parseStat(line string) (stat, error) {
	open, shut := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || shut < open {
		return stat{}, errors.New("parse process status: no command in it")
	}
	f := strings.Fields(line[shut+1:]) // f[0] is field 3 of proc(5)
	if len(f) < 22 {
		return stat{}, fmt.Errorf("parse process status: %d fields", len(f)+2)
	}
	number := func(field int) int64 {
		if field-3 >= len(f) {
			return 0
		}
		n, _ := strconv.ParseInt(f[field-3], 10, 64)
		return n
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line[:open]))
	if err != nil {
		return stat{}, fmt.Errorf("parse process status: %w", err)
	}
	return stat{
		pid:     pid,
		state:   f[0][0],
		ppid:    int(number(4)),
		pgrp:    int(number(5)),
		session: int(number(6)),
		ticks:   uint64(number(14) + number(15)),
		start:   uint64(number(22)),
		rss:     number(24),
		status:  int(number(52)),
	}, nil
}

// alive reports whether the process is there and not a zombie.
func (s stat) alive() bool { return s.state != 'Z' && s.state != 'X' && s.state != 'x' }

// alive reports whether there is such a process and it is not a zombie.
func alive(pid int) bool {
	s, err := readStat(pid)
	return err == nil && s.alive()
}

// processes returns all processes that can be seen.
func processes() ([]stat, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var all []stat
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil {
			all = append(all, s)
		}
	}
	return all, nil
}

// marked reports whether a process began with MarkerEnv set to id. What may not be read is not.
func marked(pid int, id string) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	want := []byte(MarkerEnv + "=" + id)
	for len(env) > 0 {
		var entry []byte
		entry, env, _ = bytes.Cut(env, []byte{0})
		if bytes.Equal(entry, want) {
			return true
		}
	}
	return false
}

// openProcess returns a pidfd of the process that has this PID and start time, or an error that is
// unix.ESRCH when it is gone. The descriptor is close-on-exec.
func openProcess(pid int, start uint64) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, err
	}
	s, err := readStat(pid) // after opening: the number cannot have changed hands unnoticed
	if err != nil || s.start != start {
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

// exitOf learns how a process ended that is not our child: from its zombie, or from the kernel's
// memory of it behind the pidfd (since Linux 6.15, once it is reaped). ok is false if it lives, or
// if there is nothing to learn yet.
func exitOf(pid int, start uint64, pidfd int) (status unix.WaitStatus, ok bool) {
	if s, err := readStat(pid); err == nil && s.start == start {
		// Who may not look into a process reads 0 as its status.
		if s.state == 'Z' && (s.status != 0 || os.Geteuid() == 0) {
			return unix.WaitStatus(s.status), true
		}
		return 0, false
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := pidfdInfo(pidfd, &info); err != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return 0, false
	}
	return unix.WaitStatus(info.Exit_code), true
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot ID: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func exitFrom(w unix.WaitStatus) Exit {
	if w.Signaled() {
		return Exit{Signal: int(w.Signal())}
	}
	return Exit{Code: w.ExitStatus()}
}
