package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// fenceRest is between two looks whether anything of a fallen allocation's containers has come up: an agent that hung
// may have been about to start one.
const fenceRest = time.Second

// fenced is what the fence knows of one allocation.
type fenced struct {
	Guarded
	Sent   time.Duration // CLOCK_BOOTTIME of the newest renewal
	Fallen bool          `json:",omitempty"` // its time has passed: it is killed, and not started again
}

// fence keeps the deadlines of allocations that must not outlive their node's contact with the servers. It is kept on
// disk for the supervisor's own restart; what is there may be a tenth of the shortest deadline older, which kills
// early rather than late. After a start of the machine nothing runs, and the fence is empty.
type fence struct {
	path string
	boot string

	mu      sync.Mutex
	allocs  map[string]fenced
	written time.Duration // Sent of what is on disk
	changed chan struct{} // has room for one
}

// fenceFile is the fence on disk.
type fenceFile struct {
	Version int
	Boot    string
	Allocs  map[string]fenced
}

// boottime is the time since the machine's start, sleep included.
func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("supervise: there is no CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// openFence reads the fence of the supervisor before this one. A damaged one is of before a power cut, after which
// nothing runs.
func openFence(path, boot string, log *slog.Logger) (*fence, error) {
	f := &fence{path: path, boot: boot, allocs: map[string]fenced{}, changed: make(chan struct{}, 1)}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read fence: %w", err)
	}
	var on fenceFile
	if err := json.Unmarshal(b, &on); err != nil {
		log.Error("the fence on disk is damaged: what it guarded is guarded again when the agent says so", "file", path, "err", err)
		return f, nil
	}
	if on.Version > recordVersion {
		return nil, fmt.Errorf("read fence: %s: %w", path, errNewer)
	}
	if on.Boot == boot && on.Allocs != nil {
		f.allocs = on.Allocs
	}
	return f, nil
}

// apply takes in what the agent says. What fell before, or has to fall now, is not renewed. It returns what has fallen.
func (f *fence) apply(g guard, now time.Duration) (fallen []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	write := f.fallLocked(now)
	for _, id := range g.Over {
		if _, known := f.allocs[id]; known {
			delete(f.allocs, id)
			write = true
		}
	}
	shortest := time.Duration(1<<63 - 1)
	for id, want := range g.Renewed {
		known, found := f.allocs[id]
		if !known.Fallen {
			known.Guarded, known.Sent = want, max(known.Sent, min(g.Sent, now))
			f.allocs[id] = known
		}
		write = write || !found
		shortest = min(shortest, want.After)
	}
	write = f.fallLocked(now) || write
	for id, a := range f.allocs {
		if a.Fallen {
			fallen = append(fallen, id)
		}
	}
	slices.Sort(fallen)
	if write || len(g.Renewed) > 0 && g.Sent-f.written >= shortest/10 {
		err = f.saveLocked()
		f.written = g.Sent
	}
	select {
	case f.changed <- struct{}{}:
	default:
	}
	return fallen, err
}

// fallLocked notes what has to fall, and reports whether anything has.
func (f *fence) fallLocked(now time.Duration) (fell bool) {
	for id, a := range f.allocs {
		if !a.Fallen && now-a.Sent >= a.After {
			a.Fallen, fell = true, true
			f.allocs[id] = a
		}
	}
	return fell
}

// look notes what has to fall. It returns all that has, and when the next one will; 0: none.
func (f *fence) look(now time.Duration) (fallen map[string]fenced, next time.Duration, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fallLocked(now) {
		err = f.saveLocked()
	}
	fallen = map[string]fenced{}
	for id, a := range f.allocs {
		switch at := a.Sent + a.After; {
		case a.Fallen:
			fallen[id] = a
		case next == 0 || at < next:
			next = at
		}
	}
	return fallen, next, err
}

// refuses is an error that is ErrFenced if the task's allocation has fallen.
func (f *fence) refuses(task string) error {
	alloc, _, _ := strings.Cut(task, "/")
	now := boottime()
	f.mu.Lock()
	defer f.mu.Unlock()
	if a, ok := f.allocs[alloc]; ok && (a.Fallen || now-a.Sent >= a.After) {
		return ErrFenced
	}
	return nil
}

// save writes the fence as it is now.
func (f *fence) save() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.saveLocked()
}

func (f *fence) saveLocked() error {
	if len(f.allocs) == 0 {
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write fence: %w", err)
		}
		return nil
	}
	b, err := json.Marshal(fenceFile{Version: recordVersion, Boot: f.boot, Allocs: f.allocs})
	if err == nil {
		err = writeFile(f.path+".tmp", b, false) // the machine's end is the tasks' end
	}
	if err == nil {
		err = os.Rename(f.path+".tmp", f.path)
	}
	if err != nil {
		return fmt.Errorf("write fence: %w", err)
	}
	return nil
}

// keepFence kills what falls, until the supervisor ends.
func (s *supervisor) keepFence() {
	alarm, err := openAlarm()
	if err != nil {
		s.log.Error("the fence looks at the clock every second only", "err", err)
	}
	defer alarm.close()
	struck := map[string]bool{}            // whose tasks of ours are being killed, or have been
	striking := map[string]chan struct{}{} // whose containers are; closed when that is over
	for s.ctx.Err() == nil {
		fallen, next, err := s.fence.look(boottime())
		if err != nil {
			s.log.Error("the fence is not on record", "err", err)
		}
		maps.DeleteFunc(struck, func(id string, _ bool) bool { _, still := fallen[id]; return !still })
		maps.DeleteFunc(striking, func(id string, done chan struct{}) bool { _, still := fallen[id]; return !still && isClosed(done) })
		again := false
		for id, a := range fallen {
			if !struck[id] {
				struck[id] = true
				s.log.Warn("no contact to the servers: an allocation is killed for good", "alloc", id, "for", a.After.String())
				s.strikeTasks(id)
			}
			if a.Containers {
				again = true
				if isClosed(striking[id]) {
					done := make(chan struct{})
					striking[id] = done
					s.spawn(func() {
						defer close(done)
						s.strikeContainers(id)
					})
				}
			}
		}
		rest := time.Hour
		if again || alarm == nil {
			rest = fenceRest
		}
		alarm.set(next)
		timer := time.NewTimer(rest)
		select {
		case <-s.ctx.Done():
		case <-s.fence.changed:
		case <-alarm.rings():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// isClosed reports whether nobody is at work; so it is of a nil channel.
func isClosed(done chan struct{}) bool {
	if done == nil {
		return true
	}
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// strikeTasks kills the allocation's tasks, which are not started again.
func (s *supervisor) strikeTasks(alloc string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, t := range s.tasks {
		if strings.HasPrefix(id, alloc+"/") && !t.rec.Final {
			s.spawn(func() {
				for s.ctx.Err() == nil {
					err := s.kill(id)
					if err == nil || errors.Is(err, ErrUnknownTask) {
						return
					}
					s.log.Error("task without contact to the servers does not end", "task", id, "err", err)
					s.pause(fenceRest)
				}
			})
		}
	}
}

// alarm rings at a moment of CLOCK_BOOTTIME, be it right after a sleep of the machine. A nil alarm never rings.
type alarm struct {
	file  *os.File
	bells chan struct{}
	group sync.WaitGroup
}

func openAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make timer: %w", err)
	}
	a := &alarm{file: os.NewFile(uintptr(fd), "alarm"), bells: make(chan struct{}, 1)}
	a.group.Go(func() {
		var count [8]byte
		for {
			if _, err := a.file.Read(count[:]); err != nil {
				return
			}
			select {
			case a.bells <- struct{}{}:
			default:
			}
		}
	})
	return a, nil
}

// set makes it ring at that time and no other; 0 is never.
func (a *alarm) set(at time.Duration) {
	if a == nil {
		return
	}
	raw, err := a.file.SyscallConn()
	if err != nil {
		return
	}
	when := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(at))}
	raw.Control(func(fd uintptr) { unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME, &when, nil) })
}

func (a *alarm) rings() <-chan struct{} {
	if a == nil {
		return nil
	}
	return a.bells
}

func (a *alarm) close() {
	if a != nil {
		a.file.Close()
		a.group.Wait()
	}
}

// strikeContainers kills what runs in containers of the allocation, with the engine's help and without it.
func (s *supervisor) strikeContainers(alloc string) {
	ctx, cancel := context.WithTimeout(s.ctx, enginePatience)
	defer cancel()
	asked := make(chan error, 1)
	s.spawn(func() { asked <- killContainers(ctx, engineSocket(), alloc) })
	killed, err := strikeMarked(alloc)
	if asked := <-asked; asked != nil && (err != nil || killed > 0) {
		s.log.Warn("the container engine does not help to kill an allocation", "alloc", alloc, "err", asked)
	}
	if err != nil {
		s.log.Error("containers without contact to the servers may live", "alloc", alloc, "err", err)
	}
}
