package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// nameServer is a server of names under measurement.
type nameServer struct {
	what    string
	address string
	process int // its CPU counts
}

const (
	dnsNames     = 100
	dnsInstances = 3
	dnsRounds    = 5
)

// dnsName is the n-th name that each server knows.
func dnsName(n int) string { return fmt.Sprintf("service%d.cluster.internal", n) }

// names compares the servers of names: how many answers each gives in a second, and how soon, at half of what the
// slowest can do. BENCH_DNS=ADDRESS,PID,… are servers that know service0 to service99 already; dnsmasq and unbound are
// started where they are installed. Rounds take turns, so that what else the machine does strikes all alike.
func (b *bench) names(ctx context.Context) error {
	servers, err := givenServers(os.Getenv("BENCH_DNS"))
	if err != nil {
		return err
	}
	for _, start := range []func(context.Context, string) (*nameServer, func(), error){startDnsmasq, startUnbound(1), startUnbound(2)} {
		s, stop, err := start(ctx, b.dir)
		if errors.Is(err, exec.ErrNotFound) {
			fmt.Printf("dns: left out: %v\n", err)
			continue
		}
		if err != nil {
			return err
		}
		defer stop()
		servers = append(servers, s)
	}
	var all []string
	for n := range dnsNames {
		all = append(all, dnsName(n))
	}
	most := map[*nameServer]float64{}
	for range dnsRounds {
		for _, s := range servers {
			load := &dnsLoad{address: s.address, names: all, sockets: 4, window: 32, length: 2 * time.Second}
			r, cpu, err := s.measure(ctx, load)
			if err != nil {
				return err
			}
			most[s] = max(most[s], r.perSecond())
			fmt.Printf("dns: %s: %.0f answers/s, %.0f for each second of its CPU; of %d questions %d answered, %d wrong\n", s.what, r.perSecond(), float64(r.answered)/cpu.Seconds(), r.asked, r.answered, r.wrong)
		}
	}
	slowest := slices.Min(slices.Collect(maps.Values(most)))
	for range dnsRounds {
		for _, s := range servers {
			load := &dnsLoad{address: s.address, names: all, sockets: 4, rate: int(slowest / 2), length: 2 * time.Second}
			r, _, err := s.measure(ctx, load)
			if err != nil {
				return err
			}
			fmt.Printf("dns: %s at half of what the slowest can do, %.0f/s: median %v, p99 %v, p99.9 %v; %d of %d answered\n", s.what, r.perSecond(), r.at(0.5), r.at(0.99), r.at(0.999), r.answered, r.asked)
		}
	}
	return nil
}

// measure also says how much CPU the server has used.
func (s *nameServer) measure(ctx context.Context, load *dnsLoad) (*dnsResult, time.Duration, error) {
	before, err := ownProcesses{ownProcess(s.process)}.use()
	if err != nil {
		return nil, 0, err
	}
	r, err := load.run(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", s.what, err)
	}
	after, err := ownProcesses{ownProcess(s.process)}.use()
	return r, max(after.ticks-before.ticks, 10*time.Millisecond), err
}

func givenServers(text string) ([]*nameServer, error) {
	var servers []*nameServer
	for one := range strings.FieldsSeq(text) {
		address, pid, _ := strings.Cut(one, ",")
		process, err := strconv.Atoi(pid)
		if err != nil {
			return nil, fmt.Errorf("read BENCH_DNS %q: want ADDRESS,PID: %w", one, err)
		}
		servers = append(servers, &nameServer{"cluster", address, process})
	}
	return servers, nil
}

// startDnsmasq starts it as Debian does, with the names as additional hosts.
func startDnsmasq(ctx context.Context, dir string) (*nameServer, func(), error) {
	hosts := filepath.Join(dir, "hosts")
	var text strings.Builder
	for n := range dnsNames {
		for i := range dnsInstances {
			fmt.Fprintf(&text, "10.0.0.%d %s\n", i+1, dnsName(n))
		}
	}
	if err := os.WriteFile(hosts, []byte(text.String()), 0o644); err != nil {
		return nil, nil, err
	}
	return startNameServer(ctx, "dnsmasq", func(port string) []string {
		return []string{"--keep-in-foreground", "--port=" + port, "--no-resolv", "--no-hosts", "--addn-hosts=" + hosts, "--listen-address=127.0.0.1",
			"--bind-interfaces", "--conf-file=/dev/null", "--pid-file", "--user=" + user(), "--local-ttl=1"}
	})
}

func user() string {
	if os.Geteuid() == 0 {
		return "root"
	}
	return os.Getenv("USER")
}

// startUnbound starts it with so many threads; Debian's has one.
func startUnbound(threads int) func(context.Context, string) (*nameServer, func(), error) {
	return func(ctx context.Context, dir string) (*nameServer, func(), error) {
		config := filepath.Join(dir, fmt.Sprintf("unbound%d.conf", threads))
		s, stop, err := startNameServer(ctx, "unbound", func(port string) []string {
			var text strings.Builder
			fmt.Fprintf(&text, "server:\n interface: 127.0.0.1\n port: %s\n num-threads: %d\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n do-daemonize: no\n module-config: \"iterator\"\n directory: %q\n so-reuseport: yes\n", port, threads, dir)
			text.WriteString(" local-zone: \"cluster.internal.\" static\n")
			for n := range dnsNames {
				for i := range dnsInstances {
					fmt.Fprintf(&text, " local-data: \"%s. 1 IN A 10.0.0.%d\"\n", dnsName(n), i+1)
				}
			}
			text.WriteString("remote-control:\n control-enable: no\n")
			if err := os.WriteFile(config, []byte(text.String()), 0o644); err != nil {
				return []string{"-h"} // it ends, which is told
			}
			return []string{"-d", "-c", config}
		})
		if s != nil {
			s.what = fmt.Sprintf("unbound with %d threads", threads)
		}
		return s, stop, err
	}
}

// startNameServer starts a program on a free port and waits until it answers.
func startNameServer(ctx context.Context, program string, args func(port string) []string) (*nameServer, func(), error) {
	path, err := exec.LookPath(program)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + program); err != nil {
			return nil, nil, err
		}
	}
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	address := free.LocalAddr().String()
	free.Close()
	_, port, _ := net.SplitHostPort(address)
	command := exec.CommandContext(ctx, path, args(port)...)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		return nil, nil, err
	}
	stop := func() { command.Process.Kill(); command.Wait() }
	s := &nameServer{program, address, command.Process.Pid}
	err = until(ctx, program+" answers", func(ctx context.Context) error {
		r, err := (&dnsLoad{address: address, names: []string{dnsName(0)}, sockets: 1, window: 1, length: 20 * time.Millisecond}).run(ctx)
		if err == nil && r.answered == 0 {
			err = errors.New("no answer")
		}
		return err
	})
	if err != nil {
		stop()
		return nil, nil, err
	}
	return s, stop, nil
}
