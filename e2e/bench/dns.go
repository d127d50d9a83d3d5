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
	"strings"
	"time"

	"github.com/a43e60e4/cluster/server/api"
)

// nameServer is a server of names under measurement.
type nameServer struct {
	what      string
	address   string
	processes ownProcesses // their CPU counts
}

const (
	dnsNames     = 100
	dnsInstances = 3
	dnsGroup     = 50 // services of a group
	dnsRounds    = 5
)

// dnsName is the n-th name that each server knows.
func dnsName(n int) string { return fmt.Sprintf("service%d.cluster.internal", n) }

// names compares the servers of names: how many answers each gives in a second, and how soon, at half of what the
// slowest can do. dnsmasq and unbound are started where they are installed. Rounds take turns, so that what else the machine
// does strikes all alike. On a machine of few CPUs the generator takes time from whom it measures: BENCH_CPU=1 keeps the servers
// on that CPU, and "taskset -c 0" in front of this program the generator off it.
func (b *bench) names(ctx context.Context) error {
	var servers []*nameServer
	for _, start := range []func(context.Context, string) (*nameServer, func(), error){b.startNames, startDnsmasq, startUnbound(1), startUnbound(2)} {
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
	before, err := s.processes.use()
	if err != nil {
		return nil, 0, err
	}
	r, err := load.run(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", s.what, err)
	}
	after, err := s.processes.use()
	return r, max(after.ticks-before.ticks, 10*time.Millisecond), err
}

// startNames starts an agent of the program under test with services of these names, all at addresses of their own.
func (b *bench) startNames(ctx context.Context, dir string) (s *nameServer, stop func(), err error) {
	address, port, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	config := filepath.Join(dir, "dns.hcl")
	if err := os.WriteFile(config, fmt.Appendf(nil, "ports {\n  dns = %s\n}\n", port), 0o644); err != nil {
		return nil, nil, err
	}
	a, err := b.launch(ctx, "-dev", "-config", config)
	if err != nil {
		return nil, nil, err
	}
	if err = a.ready(ctx); err == nil {
		err = a.serve(ctx)
	}
	if err == nil {
		s = &nameServer{what: "cluster", address: address}
		s.processes, err = processes(a.cmd.Process.Pid)
	}
	if err == nil {
		err = s.complete(ctx)
	}
	if err != nil {
		a.stop()
		return nil, nil, err
	}
	return s, a.stop, nil
}

// serve registers jobs that have the services: one per instance, as each gives an address of its own.
func (a *agent) serve(ctx context.Context) error {
	for i := range dnsInstances {
		var groups []any
		for g := range dnsNames / dnsGroup {
			var services []any
			for n := range dnsGroup {
				name, _, _ := strings.Cut(dnsName(g*dnsGroup+n), ".")
				services = append(services, map[string]any{"Name": name, "Provider": "nomad", "Address": fmt.Sprintf("10.0.0.%d", i+1)})
			}
			groups = append(groups, map[string]any{"Name": fmt.Sprint("group", g), "Services": services, "EphemeralDisk": map[string]any{"SizeMB": 10},
				"Tasks": []any{task("sleep", "3600")}})
		}
		job := map[string]any{"ID": fmt.Sprint("names", i), "Type": "service", "TaskGroups": groups}
		if _, err := a.api.Put(ctx, "/v1/jobs", api.Query{}, map[string]any{"Job": job}, nil); err != nil {
			return err
		}
	}
	return nil
}

// complete waits until all names have all addresses.
func (s *nameServer) complete(ctx context.Context) error {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.address)
	}}
	for n := range dnsNames {
		err := until(ctx, dnsName(n)+" is known", func(ctx context.Context) error {
			found, err := resolver.LookupHost(ctx, dnsName(n)+".")
			if err == nil && len(found) != dnsInstances {
				err = fmt.Errorf("%d of %d addresses: %w", len(found), dnsInstances, errNotYet)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
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

// freePort is an address on loopback, with its port, that nobody hears on at the moment.
func freePort() (address, port string, err error) {
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer free.Close()
	address = free.LocalAddr().String()
	_, port, err = net.SplitHostPort(address)
	return address, port, err
}

// startNameServer starts a program on a free port and waits until it answers.
func startNameServer(ctx context.Context, program string, args func(port string) []string) (*nameServer, func(), error) {
	path, err := exec.LookPath(program)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + program); err != nil {
			return nil, nil, err
		}
	}
	address, port, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	command := measured(ctx, path, args(port)...)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		return nil, nil, err
	}
	stop := func() { command.Process.Kill(); command.Wait() }
	s := &nameServer{program, address, ownProcesses{ownProcess(command.Process.Pid)}}
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
