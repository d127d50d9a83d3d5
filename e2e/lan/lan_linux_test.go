package lan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// pair is a LAN with the machines a and b.
func pair(t *testing.T, c Config) (l *LAN, a, b *Machine) {
	t.Helper()
	l = New(t, c)
	return l, machine(t, l, "a"), machine(t, l, "b")
}

func machine(t *testing.T, l *LAN, name string) *Machine {
	t.Helper()
	m, err := l.Machine(name)
	check(t, err)
	return m
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// at is an address of a machine with a port.
func at(address netip.Addr, port uint16) string { return netip.AddrPortFrom(address, port).String() }

// echo answers UDP datagrams on port 7 of every address of the machine until the test's end or the machine's.
func echo(t *testing.T, m *Machine) {
	t.Helper()
	for _, address := range m.Addresses() {
		conn, err := m.ListenPacket(t.Context(), "udp", at(address, 7))
		check(t, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			buffer := make([]byte, 2000)
			for {
				n, from, err := conn.ReadFrom(buffer)
				if err != nil {
					return
				}
				_, _ = conn.WriteTo(buffer[:n], from)
			}
		}()
		t.Cleanup(func() { conn.Close(); <-done })
	}
}

// answered sends so many datagrams one after the other and counts the answers that come in time.
func answered(t *testing.T, m *Machine, to string, count int, patience time.Duration) int {
	t.Helper()
	conn, err := m.DialContext(t.Context(), "udp", to)
	check(t, err)
	defer conn.Close()
	buffer := make([]byte, 2000)
	got := 0
	for i := range count {
		if _, err := fmt.Fprint(conn, i); err != nil {
			continue // what came back of an earlier one, such as no route
		}
		check(t, conn.SetReadDeadline(time.Now().Add(patience)))
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				break
			}
			if string(buffer[:n]) == fmt.Sprint(i) {
				got++
				break
			}
		}
	}
	return got
}

const soon, never = 5 * time.Second, 100 * time.Millisecond

func TestMachinesReachEachOther(t *testing.T) {
	_, a, b := pair(t, Config{})
	echo(t, a)
	echo(t, b)
	for _, address := range b.Addresses() {
		if n := answered(t, a, at(address, 7), 3, soon); n != 3 {
			t.Errorf("%s answers %d of 3", address, n)
		}
		listener, err := b.Listen(t.Context(), "tcp", at(address, 80))
		check(t, err)
		defer listener.Close()
		conn, err := a.DialContext(t.Context(), "tcp", at(address, 80))
		check(t, err)
		conn.Close()
	}
	for _, own := range a.Addresses() {
		if n := answered(t, a, at(own, 7), 1, soon); n != 1 {
			t.Errorf("a does not reach itself at %s", own)
		}
	}
	traffic := a.Traffic()
	if udp := traffic.Flows[Flow{protocolUDP, 7}]; udp.Frames != 12 || traffic.Flows[Flow{protocolTCP, 80}].Frames < 6 || traffic.Lost.Frames != 0 {
		t.Errorf("the traffic of a was %+v", traffic)
	}
}

func TestOnlyIPv6(t *testing.T) {
	_, a, b := pair(t, Config{Networks: []netip.Prefix{IPv6}})
	echo(t, b)
	if n := answered(t, a, at(b.Address(), 7), 1, soon); n != 1 || !b.Address().Is6() {
		t.Errorf("%s does not answer", b.Address())
	}
	out, err := a.Command(t.Context(), "ip", "-4", "addr", "show", "dev", device).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("there is IPv4: %s, %v", out, err)
	}
}

func TestLANsAreApart(t *testing.T) {
	_, a, _ := pair(t, Config{})
	_, _, b := pair(t, Config{})
	echo(t, b)
	if n := answered(t, a, at(b.Address(), 7), 1, never); n != 0 {
		t.Error("a machine of another LAN answers")
	}
}

func TestCutAndHeal(t *testing.T) {
	l, a, b := pair(t, Config{})
	c := machine(t, l, "c")
	echo(t, b)
	echo(t, c)
	asked := func(to *Machine, patience time.Duration) int { return answered(t, a, at(to.Address(), 7), 1, patience) }
	if asked(b, soon) != 1 {
		t.Fatal("b does not answer")
	}
	for name, cut := range map[string]func(){
		"cable of b": b.CutOff, "cable of a": a.CutOff,
		"way there": func() { l.Set(a, b, Condition{Cut: true}) },
		"way back":  func() { l.Set(b, a, Condition{Cut: true}) },
		"into b":    func() { b.In(func(c *Condition) { c.Cut = true }) },
		"out of b":  func() { b.Out(func(c *Condition) { c.Cut = true }) },
	} {
		cut()
		if asked(b, never) != 0 {
			t.Errorf("%s: b answers", name)
		}
		patience, want := soon, 1
		if name == "cable of a" {
			patience, want = never, 0
		}
		if n := asked(c, patience); n != want {
			t.Errorf("%s: %d answers of c", name, n)
		}
		l.Heal()
		if asked(b, soon) != 1 {
			t.Errorf("%s: healed, and b does not answer", name)
		}
	}
}

// TestHalfOpen: what a sends reaches b, and b's answers do not reach a.
func TestHalfOpen(t *testing.T) {
	l, a, b := pair(t, Config{})
	heard, err := b.ListenPacket(t.Context(), "udp", at(b.Address(), 7))
	check(t, err)
	defer heard.Close()
	answered(t, a, at(b.Address(), 7), 1, never) // so that they have found one another
	buffer := make([]byte, 10)
	_, _, err = heard.ReadFrom(buffer)
	check(t, err)
	l.Set(b, a, Condition{Cut: true})
	if answered(t, a, at(b.Address(), 7), 1, never) != 0 {
		t.Error("a hears b")
	}
	check(t, heard.SetReadDeadline(time.Now().Add(soon)))
	if _, _, err := heard.ReadFrom(buffer); err != nil {
		t.Error("b does not hear a:", err)
	}
}

func TestLossIsAsGiven(t *testing.T) {
	l, a, b := pair(t, Config{Seed: 1})
	silent, err := b.ListenPacket(t.Context(), "udp", at(b.Address(), 7))
	check(t, err)
	defer silent.Close()
	received := func(part float64) int {
		l.Set(a, b, Condition{Loss: part})
		before := b.Traffic().Flows[Flow{protocolUDP, 7}].Frames
		conn, err := a.DialContext(t.Context(), "udp", at(b.Address(), 7))
		check(t, err)
		defer conn.Close()
		sent := a.Traffic().Flows[Flow{protocolUDP, 7}].Frames + 2000
		for range 2000 {
			_, err := conn.Write([]byte("x"))
			check(t, err)
		}
		check(t, eventually(func() bool { return a.Traffic().Flows[Flow{protocolUDP, 7}].Frames >= sent }))
		return int(b.Traffic().Flows[Flow{protocolUDP, 7}].Frames - before)
	}
	for _, part := range []float64{0, 0.1, 0.3, 1} {
		n := received(part)
		if spread := 5*math.Sqrt(2000*part*(1-part)) + 1; math.Abs(float64(n)-2000*(1-part)) > spread {
			t.Errorf("with a loss of %v, %d of 2000 arrive", part, n)
		}
	}
}

func eventually(done func() bool) error {
	for deadline := time.Now().Add(soon); !done(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("gave up waiting")
		}
	}
	return nil
}

func TestDelayKeepsOrder(t *testing.T) {
	_, a, b := pair(t, Config{})
	echo(t, b)
	answered(t, a, at(b.Address(), 7), 1, soon)
	b.Delay(50 * time.Millisecond)
	conn, err := a.DialContext(t.Context(), "udp", at(b.Address(), 7))
	check(t, err)
	defer conn.Close()
	begun := time.Now()
	for i := range 50 {
		_, err := conn.Write([]byte{byte(i)})
		check(t, err)
	}
	check(t, conn.SetReadDeadline(begun.Add(soon)))
	buffer := make([]byte, 10)
	for i := range 50 {
		_, err := conn.Read(buffer)
		check(t, err)
		if int(buffer[0]) != i {
			t.Fatalf("%d comes in place of %d", buffer[0], i)
		}
		if took := time.Since(begun); i == 0 && took < 100*time.Millisecond {
			t.Errorf("there and back took %v", took)
		}
	}
}

func TestBlockedPorts(t *testing.T) {
	_, a, b := pair(t, Config{})
	echo(t, a)
	echo(t, b)
	b.Block(7, 80)
	for _, address := range b.Addresses() {
		if answered(t, a, at(address, 7), 1, never) != 0 {
			t.Errorf("blocked port 7 of %s answers", address)
		}
	}
	listener, err := b.Listen(t.Context(), "tcp", at(b.Address(), 80))
	check(t, err)
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), never)
	defer cancel()
	if _, err := a.DialContext(ctx, "tcp", at(b.Address(), 80)); err == nil {
		t.Error("blocked port 80 answers")
	}
	if answered(t, b, at(a.Address(), 7), 1, soon) != 1 {
		t.Error("port 7 of a does not answer")
	}
	b.Heal()
	if answered(t, a, at(b.Address(), 7), 1, soon) != 1 {
		t.Error("healed, and port 7 of b does not answer")
	}
}

func TestRate(t *testing.T) {
	_, a, b := pair(t, Config{})
	listener, err := b.Listen(t.Context(), "tcp", at(b.Address(), 80))
	check(t, err)
	defer listener.Close()
	const size = 50 << 20
	failed := make(chan error, 1)
	go func() {
		conn, err := a.DialContext(t.Context(), "tcp", at(b.Address(), 80))
		if err == nil {
			_, err = io.Copy(conn, bytes.NewReader(make([]byte, size)))
			err = errors.Join(err, conn.Close())
		}
		failed <- err
	}()
	conn, err := listener.Accept()
	check(t, err)
	defer conn.Close()
	begun := time.Now()
	n, err := io.Copy(io.Discard, conn)
	check(t, err)
	check(t, <-failed)
	if n != size {
		t.Errorf("%d of %d bytes arrived", n, size)
	}
	t.Logf("%.0f Mbit/s", float64(n)*8/1e6/time.Since(begun).Seconds())
}

func TestKillLeavesNobodyAndSaysNothing(t *testing.T) {
	_, a, b := pair(t, Config{})
	listener, err := a.Listen(t.Context(), "tcp", at(a.Address(), 80))
	check(t, err)
	defer listener.Close()
	conn, err := b.DialContext(t.Context(), "tcp", at(a.Address(), 80))
	check(t, err)
	defer conn.Close()
	accepted, err := listener.Accept()
	check(t, err)
	// a process, one of another session and one in a namespace of its own
	cmd := a.Command(t.Context(), "sh", "-c", "sleep 4811 & setsid sleep 4812 & unshare --net sleep 4813 & echo on; wait")
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	_, err = io.ReadFull(out, make([]byte, 3))
	check(t, err)
	check(t, eventually(func() bool { return len(a.Processes()) == 4 }))
	pids := a.Processes()
	check(t, a.Kill())
	_ = cmd.Wait() // says that it was killed
	for _, pid := range pids {
		if fields := stat(pid); len(fields) > 0 && fields[0] != "Z" {
			t.Errorf("process %d lives", pid)
		}
	}
	accepted.Close() // a farewell into the void
	check(t, conn.SetReadDeadline(time.Now().Add(never)))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("b hears of the death: %v", err)
	}
	if a.On() || a.Command(t.Context(), "true").Run() == nil {
		t.Error("a runs something while it is off")
	}
	check(t, a.Boot())
	check(t, conn.SetDeadline(time.Now().Add(soon)))
	_, _ = conn.Write([]byte("still there?"))
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a knows its old connections: %v", err)
	}
	echo(t, a)
	if answered(t, b, at(a.Address(), 7), 1, soon) != 1 {
		t.Error("a does not answer after its start")
	}
}

func TestSuspendedMachinesStandStill(t *testing.T) {
	_, a, _ := pair(t, Config{})
	cmd := a.Command(t.Context(), "sh", "-c", "while :; do echo; done")
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	_, err = io.ReadFull(out, make([]byte, 100))
	check(t, err)
	check(t, a.Suspend())
	if fields := stat(cmd.Process.Pid); len(fields) == 0 || fields[0] != "T" {
		t.Errorf("the state of a process is %v", fields)
	}
	a.Resume()
	_, err = io.ReadFull(out, make([]byte, 100000))
	check(t, err)
	check(t, a.Kill())
	_ = cmd.Wait() // says that it was killed
}

func TestAddressesChange(t *testing.T) {
	_, a, b := pair(t, Config{})
	before := b.Addresses()
	check(t, b.Readdress())
	echo(t, b)
	for i, address := range b.Addresses() {
		if address == before[i] || answered(t, a, at(address, 7), 1, soon) != 1 {
			t.Errorf("%s does not answer", address)
		}
		if answered(t, a, at(before[i], 7), 1, never) != 0 {
			t.Errorf("%s answers still", before[i])
		}
	}
	was := b.Address()
	check(t, a.Inherit(b))
	if a.Address() != was || b.Address() == was {
		t.Errorf("a has %s, b has %s", a.Address(), b.Address())
	}
}

// TestNothingIsLeft leaves a LAN as a process does that is killed, and opens another.
func TestNothingIsLeft(t *testing.T) {
	if os.Getenv("LAN_TEST_DIE") != "" {
		l, err := Open(Config{})
		check(t, err)
		m, err := l.Machine("a")
		check(t, err)
		cmd := m.Command(context.Background(), "sleep", "4821")
		check(t, cmd.Start())
		fmt.Printf("left %s %d\n", l.dir, cmd.Process.Pid)
		os.Exit(0)
	}
	New(t, Config{}) // or skip
	self, err := os.Executable()
	check(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "LAN_TEST_DIE=1")
	out, err := cmd.Output()
	check(t, err)
	var dir string
	var pid int
	_, after, _ := strings.Cut(string(out), "left ")
	_, err = fmt.Sscanf(after, "%s %d", &dir, &pid)
	check(t, err)
	l, err := Open(Config{})
	check(t, err)
	if _, err := os.Stat(dir); err == nil {
		t.Error(dir, "is left")
	}
	if fields := stat(pid); len(fields) > 0 && fields[0] != "Z" {
		t.Error("a process is left")
	}
	machine(t, l, "a")
	check(t, l.Close())
	if left, _ := filepath.Glob(l.dir); len(left) > 0 {
		t.Error(left, "is left after Close")
	}
}

func TestDialWantsAddresses(t *testing.T) {
	_, a, _ := pair(t, Config{})
	if _, err := a.DialContext(t.Context(), "tcp", "localhost:80"); err == nil {
		t.Error("it looks up names, on whatever machine that is")
	}
	var wrong *net.OpError
	if _, err := a.DialContext(t.Context(), "tcp", "127.0.0.1:1"); !errors.As(err, &wrong) {
		t.Errorf("nobody listens, and it says %v", err)
	}
}

func FuzzParse(f *testing.F) {
	udp := slices.Concat(make([]byte, 12), []byte{0x08, 0, 0x45, 0, 0, 30, 0, 0, 0, 0, 64, protocolUDP}, make([]byte, 10), []byte{0, 7, 0, 9})
	f.Add(udp)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		if p := parse(frame); p.neighbour && p.hasPorts {
			t.Errorf("%x is two things at once", frame)
		}
	})
}

func TestParse(t *testing.T) {
	ethernet := func(kind uint16, body ...[]byte) []byte {
		return slices.Concat(append([][]byte{make([]byte, 12), {byte(kind >> 8), byte(kind)}}, body...)...)
	}
	four := func(protocol, fragment byte) []byte {
		return slices.Concat([]byte{0x46, 0, 0, 0, 0, 0, 0, fragment, 64, protocol}, make([]byte, 14)) // with an option
	}
	six := func(next byte) []byte {
		return slices.Concat([]byte{0x60, 0, 0, 0, 0, 0, next, 64}, make([]byte, 32))
	}
	ports := []byte{0x12, 0x34, 0, 80, 0, 0, 0, 0}
	want := func(protocol uint8) packet { return packet{protocol: protocol, hasPorts: true, from: 0x1234, to: 80} }
	for name, c := range map[string]struct {
		frame []byte
		want  packet
	}{
		"ARP":            {ethernet(typeARP, make([]byte, 28)), packet{neighbour: true}},
		"UDP":            {ethernet(typeIPv4, four(protocolUDP, 0), ports), want(protocolUDP)},
		"later fragment": {ethernet(typeIPv4, four(protocolUDP, 8), ports), packet{protocol: protocolUDP}},
		"TCP over IPv6":  {ethernet(typeIPv6, six(protocolTCP), ports), want(protocolTCP)},
		"first fragment": {ethernet(typeIPv6, six(protocolFragment), []byte{protocolUDP, 0, 0, 1, 0, 0, 0, 0}, ports), want(protocolUDP)},
		"last fragment":  {ethernet(typeIPv6, six(protocolFragment), []byte{protocolUDP, 0, 1, 0, 0, 0, 0, 0}, ports), packet{protocol: protocolUDP}},
		"neighbour":      {ethernet(typeIPv6, six(protocolICMPv6), []byte{135, 0, 0, 0}), packet{protocol: protocolICMPv6, neighbour: true}},
		"ping":           {ethernet(typeIPv6, six(protocolICMPv6), []byte{128, 0, 0, 0}), packet{protocol: protocolICMPv6}},
		"cut short":      {ethernet(typeIPv6, six(protocolTCP))[:40], packet{}},
	} {
		if got := parse(c.frame); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
