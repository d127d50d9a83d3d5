package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/a43e60e4/cluster/e2e/fleet"
)

const (
	sockets = 4  // of the load
	window  = 32 // unanswered questions per socket
	asked   = service + ".cluster.internal"
)

// names compares a node's DNS with dnsmasq and unbound on the same machine, all asked for the same name with the same
// three addresses by the same generator, which shares the cores with them.
func (b *bench) names(ctx context.Context) (err error) {
	f, err := b.open(ctx, three)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := b.serve(ctx, f, three.first(), 3); err != nil {
		return err
	}
	n := f.Named(three.first())
	var addresses []string
	err = until(ctx, "the DNS has three addresses", func(ctx context.Context) error {
		found, err := n.Resolve(ctx, asked)
		if err == nil && len(found) != 3 {
			err = fmt.Errorf("there are %v", found)
		}
		addresses = nil
		for _, address := range found {
			addresses = append(addresses, address.String())
		}
		return err
	})
	if err != nil {
		return err
	}
	fmt.Printf("  %d sockets with %d questions on their way each, for %v; the nodes' agents and the generator share %d cores\n",
		sockets, window, b.second, runtime.NumCPU())
	if err := b.ask(ctx, n, "cluster", fleet.DNSPort); err != nil {
		return err
	}
	for i, other := range []func(*fleet.Node, uint16, []string) ([]string, error){b.dnsmasq, b.unbound} {
		port := uint16(5301 + i)
		argv, err := other(n, port, addresses)
		if err != nil {
			return err
		}
		if _, err := exec.LookPath(argv[0]); err != nil {
			fmt.Printf("  %s is not installed\n", argv[0])
			continue
		}
		if err := b.compare(ctx, n, argv, port); err != nil {
			return err
		}
	}
	return b.ask(ctx, n, "cluster, again", fleet.DNSPort)
}

// compare runs another server on the machine and asks it.
func (b *bench) compare(ctx context.Context, n *fleet.Node, argv []string, port uint16) error {
	ctx, cancel := context.WithCancel(ctx)
	cmd := n.Command(ctx, argv[0], argv[1:]...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		cancel()
		return err
	}
	err := b.ask(ctx, n, filepath.Base(argv[0]), port)
	cancel()
	_ = cmd.Wait() // killed by the context
	if err != nil {
		return fmt.Errorf("%w; it says %s", err, said.String())
	}
	return nil
}

func (b *bench) dnsmasq(n *fleet.Node, port uint16, addresses []string) ([]string, error) {
	argv := []string{"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=",
		"--bind-interfaces", "--listen-address=" + n.Address().String(), fmt.Sprintf("--port=%d", port), "--local-ttl=5"}
	for _, address := range addresses {
		argv = append(argv, "--host-record="+asked+","+address)
	}
	return argv, nil
}

func (b *bench) unbound(n *fleet.Node, port uint16, addresses []string) ([]string, error) {
	var c strings.Builder
	fmt.Fprintf(&c, "server:\n  do-daemonize: no\n  chroot: \"\"\n  username: \"\"\n  pidfile: \"\"\n  use-syslog: no\n  num-threads: %d\n  so-reuseport: yes\n", runtime.NumCPU())
	fmt.Fprintf(&c, "  interface: %s@%d\n  access-control: 0.0.0.0/0 allow\n  local-zone: \"cluster.internal.\" static\n", n.Address(), port)
	for _, address := range addresses {
		fmt.Fprintf(&c, "  local-data: \"%s. 5 IN A %s\"\n", asked, address)
	}
	c.WriteString("remote-control:\n  control-enable: no\n")
	file := filepath.Join(b.dir, "unbound.conf")
	return []string{"unbound", "-d", "-c", file}, os.WriteFile(file, []byte(c.String()), 0o644)
}

// ask measures one server: as many answers as it gives, then latency at half of that.
func (b *bench) ask(ctx context.Context, n *fleet.Node, name string, port uint16) error {
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	for range sockets {
		conn, err := n.DialContext(ctx, "udp", fleet.Host(n.Address().String(), port))
		if err != nil {
			return err
		}
		conns = append(conns, conn)
	}
	err := until(ctx, name+" answers", func(context.Context) error {
		_, err := flood(conns[:1], 10*time.Millisecond)
		return err
	})
	if err != nil {
		return err
	}
	rate, err := flood(conns, b.second)
	if err != nil {
		return err
	}
	late, lost := paced(conns, rate/2, b.second)
	slices.Sort(late)
	at := func(q float64) time.Duration { return late[int(q*float64(len(late)-1))].Round(time.Microsecond) }
	fmt.Printf("  %s: %.0f answers/s; at half of it: median %v, p99 %v, most %v, %d of %d without an answer\n",
		name, rate, at(0.5), at(0.99), at(1), lost, lost+len(late))
	return nil
}

// questionFor is a question for the addresses of the name.
func questionFor(id uint16) []byte {
	q := []byte{byte(id >> 8), byte(id), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(asked, ".") {
		q = append(append(q, byte(len(label))), label...)
	}
	return append(q, 0, 0, 1, 0, 1)
}

var errNoAnswer = errors.New("there is no right answer")

// right reports whether it is an answer with three addresses.
func right(answer []byte) bool {
	return len(answer) > 12 && answer[3]&15 == 0 && binary.BigEndian.Uint16(answer[6:]) == 3
}

// flood keeps the window of every socket full, and counts right answers per second.
func flood(conns []net.Conn, length time.Duration) (rate float64, err error) {
	begun := time.Now()
	var asking sync.WaitGroup
	counts, errs := make([]int, len(conns)), make([]error, len(conns))
	for i, conn := range conns {
		asking.Go(func() {
			question, answer := questionFor(uint16(i)), make([]byte, 1500)
			for open := 0; time.Since(begun) < length; {
				for ; open < window; open++ {
					_, _ = conn.Write(question) // nobody may listen yet
				}
				_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				size, err := conn.Read(answer)
				switch {
				case err != nil:
					open = 0 // they are lost
				case !right(answer[:size]):
					errs[i] = errNoAnswer
					open--
				default:
					counts[i]++
					open--
				}
			}
		})
	}
	asking.Wait()
	total := 0
	for _, count := range counts {
		total += count
	}
	if err := errors.Join(errs...); err != nil || total == 0 {
		return 0, errors.Join(err, errNoAnswer)
	}
	drain(conns)
	return float64(total) / time.Since(begun).Seconds(), nil
}

// drain reads what is still on its way.
func drain(conns []net.Conn) {
	buffer := make([]byte, 1500)
	for _, conn := range conns {
		for {
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			if _, err := conn.Read(buffer); err != nil {
				break
			}
		}
	}
}

// paced asks at a rate, whatever the answers do, and returns how late each was and how many did not come. What it could
// not ask in time, as the machine did something else, it leaves out: a burst would measure the burst.
func paced(conns []net.Conn, rate float64, length time.Duration) (late []time.Duration, lost int) {
	var asking sync.WaitGroup
	var mu sync.Mutex
	begun := time.Now()
	for _, conn := range conns {
		var sent [1 << 16]time.Time // by ID
		var sentMu sync.Mutex
		count := 0
		asking.Go(func() {
			for next := 0; ; {
				passed := time.Since(begun)
				if passed > length {
					return
				}
				own := rate / float64(len(conns))
				due := int(passed.Seconds() * own)
				for next = max(next, due-int(own/500)-1); next < due; next++ {
					question := questionFor(uint16(count))
					sentMu.Lock()
					sent[uint16(count)] = time.Now()
					count++
					sentMu.Unlock()
					_, _ = conn.Write(question) // it counts as lost
				}
				time.Sleep(50 * time.Microsecond)
			}
		})
		asking.Go(func() {
			var own []time.Duration
			answer := make([]byte, 1500)
			for time.Since(begun) < length+200*time.Millisecond {
				_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				size, err := conn.Read(answer)
				if err != nil || !right(answer[:size]) {
					continue
				}
				sentMu.Lock()
				own = append(own, time.Since(sent[binary.BigEndian.Uint16(answer)]))
				sentMu.Unlock()
			}
			sentMu.Lock()
			missing := count - len(own)
			sentMu.Unlock()
			mu.Lock()
			defer mu.Unlock()
			late, lost = append(late, own...), lost+missing
		})
	}
	asking.Wait()
	return late, lost
}
