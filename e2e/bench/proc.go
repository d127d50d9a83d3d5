package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ownProcess is one of the processes of the program under test, by its PID.
type ownProcess int

// ownProcesses are the supervisor and whatever it started that is the same program: tasks are not ours.
type ownProcesses []ownProcess

// processes finds them.
func processes(supervisor int) (ownProcesses, error) {
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", supervisor))
	if err != nil {
		return nil, err
	}
	ours := ownProcesses{ownProcess(supervisor)}
	for i := 0; i < len(ours); i++ {
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", ours[i]))
		if err != nil {
			return nil, err
		}
		for _, list := range lists {
			text, _ := os.ReadFile(list) // the thread may be gone
			for _, child := range strings.Fields(string(text)) {
				pid, _ := strconv.Atoi(child)
				if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe == program {
					ours = append(ours, ownProcess(pid))
				}
			}
		}
	}
	return ours, nil
}

// field is the number after a name in a file of the process.
func (p ownProcess) field(file, name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			return strconv.ParseInt(words[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/%s has no %s", p, file, name)
}

func (p ownProcess) describe() string {
	pss, _ := p.field("smaps_rollup", "Pss:")
	own, _ := p.field("smaps_rollup", "Pss_Anon:")
	threads, _ := p.field("status", "Threads:")
	return fmt.Sprintf("process %d: %.1f MB PSS, of that %.1f MB not from a file; %d threads", p, mega(pss<<10), mega(own<<10), threads)
}

// use is what processes occupy, and what they have consumed since they began.
type use struct {
	at      time.Time
	pss     int64         // bytes of memory at that moment; what several processes map counts once in all
	ticks   time.Duration // CPU as /proc/PID/stat has it, in hundredths of a second
	cpu     time.Duration // CPU of the threads that live, to the nanosecond
	wakings int64         // voluntary context switches of the threads that live
	disk    int64         // bytes written towards a disk
	written int64         // bytes given to write, to pipes and sockets too
}

func (o ownProcesses) use() (u use, err error) {
	u.at = time.Now()
	for _, p := range o {
		if err := p.addTo(&u); err != nil {
			return u, err
		}
	}
	return u, nil
}

func (p ownProcess) addTo(u *use) error {
	pss, err := p.field("smaps_rollup", "Pss:")
	if err != nil {
		return err
	}
	u.pss += pss << 10
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
	if err != nil {
		return err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])) // the name may hold anything
	for _, field := range fields[11:13] {                                               // utime, stime
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return err
		}
		u.ticks += time.Duration(ticks) * 10 * time.Millisecond
	}
	for name, sum := range map[string]*int64{"write_bytes:": &u.disk, "wchar:": &u.written} {
		n, err := p.field("io", name)
		if err != nil {
			return err
		}
		*sum += n
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", p))
	if err != nil {
		return err
	}
	for _, thread := range threads {
		id := strings.TrimPrefix(thread, fmt.Sprintf("/proc/%d/", p))
		switches, err := p.field(id+"/status", "voluntary_ctxt_switches:")
		if err != nil {
			continue // it ended
		}
		u.wakings += switches
		times, _ := os.ReadFile(thread + "/schedstat")
		if words := strings.Fields(string(times)); len(words) > 0 {
			n, _ := strconv.ParseInt(words[0], 10, 64)
			u.cpu += time.Duration(n)
		}
	}
	return nil
}

// since says what was consumed between two readings.
func (u use) since(from use) string {
	took := u.at.Sub(from.at)
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / took.Seconds() }
	return fmt.Sprintf("in %v: %.3f %% of a core (%.3f %% by thread times), %.1f wakings/s, %d bytes written to disk, %d to files, pipes and sockets",
		took.Round(time.Second), share(u.ticks-from.ticks), share(u.cpu-from.cpu), float64(u.wakings-from.wakings)/took.Seconds(), u.disk-from.disk, u.written-from.written)
}
