//go:build linux

package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/a43e60e4/cluster/driver/drivertest"
)

// answerNames answers every question for an A record on port 53 of the address until the test ends.
func answerNames(t *testing.T, at netip.Addr, answer netip.Addr) {
	t.Helper()
	conn, err := net.ListenPacket("udp", net.JoinHostPort(at.String(), "53"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-ended })
	go func() {
		defer close(ended)
		packet := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(packet[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.Additionals = true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: answer.As4()}}}
			}
			if reply, err := m.Pack(); err == nil {
				conn.WriteTo(reply, from)
			}
		}
	}()
}

// TestContainersAskTheNode has a task resolve names through a resolver on the engine's default network, with nothing in its
// config, and another with resolvers of its own left alone.
func TestContainersAskTheNode(t *testing.T) {
	d := open(t, Config{Options: options(sharedEngine(t)), Dir: t.TempDir(), Resolvers: func(gateways []netip.Addr) ([]netip.Addr, error) {
		return gateways, nil
	}})
	gateways, err := d.gateways(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(gateways) == 0 {
		skip(t, "the engine has no default network")
	}
	answerNames(t, gateways[0], netip.MustParseAddr("192.0.2.7"))
	resolve := func(network, server string) string {
		task := probeTask(t, d, "resolve", "web.cluster.internal", "example.com")
		if network != "" {
			task.Config["network_mode"] = network
		}
		if server != "" {
			task.Config["dns_servers"] = []any{server}
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		mustStart(t, d, task)
		if _, err := d.Wait(ctx, task.ID); err != nil {
			t.Fatal(err)
		}
		all, _ := filepath.Glob(filepath.Join(task.AllocDir, "logs", "*"))
		var text strings.Builder
		for _, path := range all {
			content, _ := os.ReadFile(path)
			text.Write(content)
		}
		return text.String()
	}
	if got, want := resolve("", ""), "web.cluster.internal [192.0.2.7]\nexample.com [192.0.2.7]\n"; got != want {
		t.Errorf("it resolves %q, want %q", got, want)
	}
	if got := resolve("", "127.0.0.9"); !strings.Contains(got, "127.0.0.9:53") {
		t.Errorf("with a resolver of its own it says %q", got)
	}
	state := d.Fingerprint(t.Context())
	if state.Attributes["driver.docker.dns.enabled"] != "true" || state.Attributes["unique.driver.docker.dns"] != gateways[0].String() || state.HealthDescription != "Healthy" {
		t.Errorf("%+v", state)
	}
}

func TestWhoAsksTheNode(t *testing.T) {
	for config, want := range map[string]bool{
		`"image": "web"`: true, `"image": "web", "network_mode": "bridge"`: true, `"image": "web", "network_mode": "mine"`: true,
		`"image": "web", "network_mode": "host"`: false, `"image": "web", "network_mode": "none"`: false,
		`"image": "web", "network_mode": "container:other"`: false, `"image": "web", "dns_servers": ["192.0.2.1"]`: false,
		`"image": "web", "dns_search_domains": ["example.com"]`: true,
	} {
		task := drivertest.Task(t, "web")
		create, err := translate(t, DefaultOptions(), task, config)
		if err != nil {
			t.Fatal(err)
		}
		c := taskConfig{NetworkMode: string(create.HostConfig.NetworkMode)}
		for _, server := range create.HostConfig.DNS {
			c.DNSServers = append(c.DNSServers, server.String())
		}
		if got := c.asksNode(); got != want {
			t.Errorf("%s: %v", config, got)
		}
	}
	for host, want := range map[string]bool{
		"unix:///var/run/docker.sock": true, "tcp://127.0.0.1:2375": true, "tcp://localhost:2375": true, "tcp://[::1]:2376": true,
		"tcp://10.0.0.1:2375": false, "ssh://me@far": false, "": false,
	} {
		if isHere(host) != want {
			t.Errorf("%s is here: %v", host, !want)
		}
	}
}

// networkEngine is an engine that knows nothing but its default network.
func networkEngine(t *testing.T, network string) *Driver {
	t.Helper()
	dir, err := os.MkdirTemp("", "fake") // paths of sockets must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch _, verb, _ := strings.Cut(q.URL.Path, "/v1.41"); {
		case verb == "":
			w.Header().Set("Api-Version", "1.41")
		case verb == "/info":
			fmt.Fprint(w, `{"ServerVersion":"fake"}`)
		case network == "":
			http.Error(w, `{"message":"network bridge not found"}`, http.StatusNotFound)
		default:
			fmt.Fprint(w, network)
		}
	}))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return open(t, Config{Options: options("unix://" + filepath.Join(dir, "sock")), Dir: t.TempDir(), CallTimeout: 10 * time.Second})
}

func TestGateways(t *testing.T) {
	for network, want := range map[string]string{
		"":   "[]",
		"{}": "[]",
		`{"IPAM":{"Config":[{"Subnet":"172.17.0.0/16","Gateway":"172.17.0.1"},{"Subnet":"fd00:d::/64","Gateway":"fd00:d::1"}]}}`: "[172.17.0.1 fd00:d::1]",
		`{"IPAM":{"Config":[{"Subnet":"172.20.0.0/16"}]}}`:                                                                       "[172.20.0.1]",
	} {
		got, err := networkEngine(t, network).gateways(t.Context())
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v", network, got, err)
		}
	}
}

// TestNoNamesAreSaid tells people why containers resolve nothing, and has the engine decide then.
func TestNoNamesAreSaid(t *testing.T) {
	d := networkEngine(t, "")
	d.config.Resolvers = func([]netip.Addr) ([]netip.Addr, error) { return nil, errors.New("port 53 is another's") }
	state := d.Fingerprint(t.Context())
	if !state.Healthy || !strings.HasSuffix(state.HealthDescription, "do not resolve names of the cluster: port 53 is another's") ||
		state.Attributes["driver.docker.dns.enabled"] != "false" {
		t.Errorf("%+v", state)
	}
	create, err := d.container(drivertest.Task(t, "web"), taskConfig{Image: "web"}, "web")
	if err != nil {
		t.Fatal(err)
	}
	d.namesFor(t.Context(), taskConfig{Image: "web"}, &create)
	if create.HostConfig.DNS != nil {
		t.Errorf("it asks %v", create.HostConfig.DNS)
	}
}
