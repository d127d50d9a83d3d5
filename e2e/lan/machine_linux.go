package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// device is the name of every machine's interface.
const device = "eth0"

// Machine is a network namespace with one interface at the LAN, and all that runs there. It shares everything else with
// the machine underneath. Its methods may be called concurrently.
type Machine struct {
	// Name is what the machine was called when it was made.
	Name string

	lan    *LAN
	number int
	mac    [6]byte
	path   string // of the namespace
	meter  meter
	tap    atomic.Pointer[os.File] // nil while the machine is off

	mu     sync.Mutex // one change at a time
	own    []netip.Prefix
	served chan struct{} // closed when the switch has left the newest tap
}

// Machine makes a machine and turns it on. Names are file names, and each machine has another.
func (l *LAN) Machine(name string) (*Machine, error) {
	number, own, err := l.number()
	if err != nil {
		return nil, fmt.Errorf("make machine %s: %w", name, err)
	}
	m := &Machine{Name: name, lan: l, number: number, mac: hardware(number), path: filepath.Join(l.dir, name), own: own}
	if err := m.Boot(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	all := append(slices.Clone(l.all()), m)
	l.machines.Store(&all)
	return m, nil
}

// Boot turns a machine on again after Kill. Nothing runs on it. A machine that is on stays as it is.
func (m *Machine) Boot() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.On() {
		return nil
	}
	var tap *os.File
	err := found(m.path, func() (err error) {
		quiet := "/proc/sys/net/ipv6/conf/default/accept_dad" // an address is usable at once
		_ = os.WriteFile(quiet, []byte("0"), 0o644)           // a kernel may have no IPv6
		tap, err = openTAP()
		return err
	})
	if err == nil {
		err = m.configureLocked()
	}
	if err != nil {
		if tap != nil {
			err = errors.Join(err, tap.Close(), discard(m.path))
		}
		return fmt.Errorf("turn on machine %s: %w", m.Name, err)
	}
	m.tap.Store(tap)
	served := make(chan struct{})
	m.served = served
	m.lan.running.Go(func() {
		defer close(served)
		m.lan.serve(m, tap)
	})
	return nil
}

// configureLocked brings the interfaces up.
func (m *Machine) configureLocked() error {
	lines := []string{
		"link set lo up",
		fmt.Sprintf("link set %s address %s mtu %d txqueuelen %d", device, net.HardwareAddr(m.mac[:]), mtu, queued),
		"link set " + device + " up",
	}
	return m.ip(append(lines, m.addressesLocked()...))
}

// addressesLocked are the commands that give the interface its addresses. The rest of the world is where no one answers.
func (m *Machine) addressesLocked() []string {
	var lines []string
	for _, own := range m.own {
		duplicates := ""
		if own.Addr().Is6() {
			duplicates = " nodad"
		}
		lines = append(lines, fmt.Sprintf("addr add %s dev %s%s", own, device, duplicates))
	}
	for _, family := range []string{"0.0.0.0/0", "::/0"} {
		is4 := family == "0.0.0.0/0"
		if slices.ContainsFunc(m.own, func(p netip.Prefix) bool { return p.Addr().Is4() == is4 }) {
			lines = append(lines, fmt.Sprintf("route replace %s dev %s", family, device))
		}
	}
	return lines
}

func (m *Machine) ip(lines []string) error {
	cmd := m.Command(context.Background(), "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("set up interfaces: %w: %s", err, out)
	}
	return nil
}

// On reports whether the machine is on.
func (m *Machine) On() bool { return m.tap.Load() != nil }

// Addresses are the machine's own, in the order of the LAN's networks.
func (m *Machine) Addresses() []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []netip.Addr
	for _, own := range m.own {
		all = append(all, own.Addr())
	}
	return all
}

// Address is the first of the machine's addresses.
func (m *Machine) Address() netip.Addr { return m.Addresses()[0] }

// Readdress gives the machine addresses that none has had. One that is off has them at its next start.
func (m *Machine) Readdress() error {
	_, own, err := m.lan.number()
	if err != nil {
		return err
	}
	return m.Move(own...)
}

// Inherit gives the machine the addresses of another, which gets some that none has had.
func (m *Machine) Inherit(other *Machine) error {
	other.mu.Lock()
	own := other.own
	other.mu.Unlock()
	if err := other.Readdress(); err != nil {
		return err
	}
	return m.Move(own...)
}

// Move gives the machine other addresses, those of another machine even. Open connections of the old ones hang.
func (m *Machine) Move(addresses ...netip.Prefix) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.own = addresses
	if !m.On() {
		return nil
	}
	return m.ip(append([]string{"addr flush dev " + device + " scope global"}, m.addressesLocked()...))
}

// Command is a command that will run on the machine, as root. Its process is the program itself.
func (m *Machine) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + m.path, "--", program}, args...)...)
}

// Do runs f on a thread that is on the machine: sockets that f makes belong to it for good. Goroutines that f starts do
// not.
func (m *Machine) Do(f func() error) error { return within(m.path, f) }

// DialContext connects from the machine to an IP address with port; it resolves no names.
func (m *Machine) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dial from machine %s: %w", m.Name, err)
	}
	dialer := net.Dialer{FallbackDelay: -1} // so that the socket is made on this thread
	err = m.Do(func() error {
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens on the machine.
func (m *Machine) Listen(ctx context.Context, network, address string) (listener net.Listener, err error) {
	err = m.Do(func() error {
		listener, err = (&net.ListenConfig{}).Listen(ctx, network, address)
		return err
	})
	return listener, err
}

// ListenPacket listens on the machine for datagrams.
func (m *Machine) ListenPacket(ctx context.Context, network, address string) (conn net.PacketConn, err error) {
	err = m.Do(func() error {
		conn, err = (&net.ListenConfig{}).ListenPacket(ctx, network, address)
		return err
	})
	return conn, err
}

// Processes are the IDs of all that runs on the machine, and of its descendants.
func (m *Machine) Processes() []int {
	if inode, mounted := namespaceOn(m.path); mounted {
		return inhabitants(inode)
	}
	return nil
}

// Kill turns the machine off, as when it loses its power: nothing that it sends leaves it any more, no farewell either,
// everything on it is killed, and what the kernel knew of connections is forgotten. Files stay.
func (m *Machine) Kill() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	tap := m.tap.Swap(nil)
	if tap == nil {
		return nil
	}
	err := tap.Close()
	<-m.served
	if err := errors.Join(err, discard(m.path)); err != nil {
		return fmt.Errorf("turn off machine %s: %w", m.Name, err)
	}
	return nil
}

// Suspend stops every process of the machine and its traffic, as when a virtual machine is paused. It returns when all
// of them stand still. What goes on is CLOCK_BOOTTIME, as for a machine that was suspended.
func (m *Machine) Suspend() error {
	m.CutOff()
	for deadline := time.Now().Add(patience); ; {
		moving := slices.DeleteFunc(m.Processes(), func(pid int) bool {
			fields := stat(pid)
			return len(fields) == 0 || fields[0] == "T"
		})
		if len(moving) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("suspend machine %s: processes %v go on", m.Name, moving)
		}
		for _, pid := range moving {
			_ = syscall.Kill(pid, syscall.SIGSTOP)
		}
		<-time.After(time.Millisecond)
	}
}

// Resume lets a suspended machine go on, connected.
func (m *Machine) Resume() {
	m.Heal()
	for _, pid := range m.Processes() {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
}

// Traffic is what has passed the machine's interface since it was made.
func (m *Machine) Traffic() Traffic { return m.meter.read() }

// Out changes the condition of what leaves the machine.
func (m *Machine) Out(change func(*Condition)) {
	m.lan.change(func(all *conditions) {
		c := all.out[m]
		change(&c)
		all.out[m] = c
	})
}

// In changes the condition of what reaches the machine.
func (m *Machine) In(change func(*Condition)) {
	m.lan.change(func(all *conditions) {
		c := all.in[m]
		change(&c)
		all.in[m] = c
	})
}

// CutOff cuts the machine's cable, which the machine does not notice.
func (m *Machine) CutOff() {
	m.lan.change(func(all *conditions) {
		for _, side := range []map[*Machine]Condition{all.out, all.in} {
			c := side[m]
			c.Cut = true
			side[m] = c
		}
	})
}

// Lose lets this part of all packets to and from the machine be lost.
func (m *Machine) Lose(part float64) {
	set := func(c *Condition) { c.Loss = part }
	m.Out(set)
	m.In(set)
}

// Delay lets every packet to and from the machine take this long.
func (m *Machine) Delay(d time.Duration) {
	set := func(c *Condition) { c.Delay = d }
	m.Out(set)
	m.In(set)
}

// Block drops what is sent to these TCP and UDP ports of the machine, besides others that are blocked.
func (m *Machine) Block(ports ...uint16) {
	m.In(func(c *Condition) { c.Blocked = slices.Concat(c.Blocked, ports) })
}

// Heal takes the machine's own conditions away. Those that LAN.Set gave remain.
func (m *Machine) Heal() {
	m.lan.change(func(all *conditions) { delete(all.out, m); delete(all.in, m) })
}
