package lan

import (
	"container/heap"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	mtu = 1500
	// queued bounds the frames that a machine has sent and the switch has not read.
	queued = 10000
	// delayed bounds the frames that are on their way.
	delayed = 100000
)

// openTAP makes the interface eth0 in the network namespace of the calling thread.
func openTAP() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request := struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}{flags: unix.IFF_TAP | unix.IFF_NO_PI}
	copy(request.name[:], device)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&request))); errno != 0 {
		unix.Close(fd)
		return nil, fmt.Errorf("make interface %s: %w", device, errno)
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}

// hardware is the Ethernet address of the machine with a number.
func hardware(number int) [6]byte {
	a := [6]byte{0x02, 0xc1}
	binary.BigEndian.PutUint32(a[2:], uint32(number))
	return a
}

// serve passes on what a machine sends, until its interface is gone.
func (l *LAN) serve(m *Machine, tap *os.File) {
	dice := map[*Machine]*rand.Rand{}
	frame := make([]byte, mtu+headerLength+4)
	for {
		n, err := tap.Read(frame)
		if err != nil {
			return
		}
		if n < headerLength {
			continue
		}
		p := parse(frame[:n])
		m.meter.count(sent, p, n)
		all := frame[0]&1 != 0 // broadcast and multicast
		for _, to := range l.all() {
			if to == m || !all && to.mac != [6]byte(frame[:6]) {
				continue
			}
			if dice[to] == nil {
				dice[to] = rand.New(rand.NewPCG(l.seed, uint64(m.number)<<32|uint64(to.number)))
			}
			condition := l.conditions.Load().of(way{m, to})
			if !condition.passes(p, dice[to].Float64()) {
				m.meter.lost(n)
				continue
			}
			if condition.Delay > 0 && !p.neighbour {
				l.post.send(letter{due: time.Now().Add(condition.Delay), to: to, p: p, frame: append([]byte(nil), frame[:n]...)})
				continue
			}
			to.receive(p, frame[:n])
		}
	}
}

// receive gives a frame to the machine, if it is on.
func (m *Machine) receive(p packet, frame []byte) {
	if tap := m.tap.Load(); tap != nil {
		if _, err := tap.Write(frame); err == nil {
			m.meter.count(received, p, len(frame))
		}
	}
}

// letter is a frame that takes its time.
type letter struct {
	due   time.Time
	turn  uint64 // among those that are due at once
	to    *Machine
	p     packet
	frame []byte
}

// letters is a heap, the first one due on top.
type letters []letter

func (l letters) Len() int { return len(l) }
func (l letters) Less(i, j int) bool {
	if l[i].due.Equal(l[j].due) {
		return l[i].turn < l[j].turn
	}
	return l[i].due.Before(l[j].due)
}
func (l letters) Swap(i, j int) { l[i], l[j] = l[j], l[i] }
func (l *letters) Push(x any)   { *l = append(*l, x.(letter)) }
func (l *letters) Pop() any {
	last := (*l)[len(*l)-1]
	*l = (*l)[:len(*l)-1]
	return last
}

// post keeps frames until they are due.
type post struct {
	wake    chan struct{} // a first letter has come; holds one
	mu      sync.Mutex
	letters letters
	turns   uint64
}

func newPost() *post { return &post{wake: make(chan struct{}, 1)} }

func (p *post) send(l letter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.letters) == delayed {
		return
	}
	p.turns++
	l.turn = p.turns
	heap.Push(&p.letters, l)
	if p.letters[0].turn == l.turn {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// due takes out the next letter that is due, or says how long to wait for it; for none, an hour.
func (p *post) due(now time.Time) (l letter, ok bool, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.letters) == 0 {
		return letter{}, false, time.Hour
	}
	if wait := p.letters[0].due.Sub(now); wait > 0 {
		return letter{}, false, wait
	}
	return heap.Pop(&p.letters).(letter), true, 0
}

// run delivers letters until ctx ends.
func (p *post) run(ctx context.Context) {
	for ctx.Err() == nil {
		l, ok, wait := p.due(time.Now())
		if ok {
			l.to.receive(l.p, l.frame)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-p.wake:
		}
		timer.Stop()
	}
}
