package cluster_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/a43e60e4/cluster"
)

func nodeID(n int) cluster.ID { return cluster.ID{byte(n >> 8), byte(n), 0x01} }

// node is a living member with one passing endpoint of web.
func node(n int) cluster.Member {
	address := netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
	return cluster.Member{State: cluster.MemberAlive, Record: cluster.Record{
		Node: nodeID(n), Name: fmt.Sprintf("Node%d", n), Address: address, Server: true, Client: true,
		Endpoints: []cluster.Endpoint{{Alloc: nodeID(n), Namespace: "default", Service: "web", Tags: []string{"V1", "v1"}, Address: address, Port: 80, Passing: true}},
	}}
}

func with(m cluster.Member, change func(*cluster.Member)) cluster.Member {
	m.Endpoints = slices.Clone(m.Endpoints)
	change(&m)
	return m
}

// found is the list of nodes that the name leads to.
func found(c *cluster.Catalog, name cluster.ServiceName) string {
	endpoints, known := c.Service(name)
	if !known {
		return "unknown"
	}
	text := "known"
	for _, e := range endpoints {
		text += " " + e.NodeName
	}
	return text
}

func TestCatalogAnswersWhatCanBeReached(t *testing.T) {
	dead := func(m *cluster.Member) { m.State = cluster.MemberDead }
	left := func(m *cluster.Member) { m.State = cluster.MemberLeft }
	failing := func(m *cluster.Member) { m.Endpoints[0].Passing = false }
	decided := func(index, epoch uint64, down ...int) func(*cluster.Member) {
		return func(m *cluster.Member) {
			m.Index, m.Epoch = index, epoch
			for _, n := range down {
				m.Down = append(m.Down, nodeID(n))
			}
		}
	}
	for _, test := range []struct {
		name    string
		members []cluster.Member
		want    string
	}{
		{"nobody", nil, "unknown"},
		{"all well", []cluster.Member{node(2), node(1)}, "known node1 node2"},
		{"a check fails", []cluster.Member{node(1), with(node(2), failing)}, "known node1"},
		{"all checks fail", []cluster.Member{with(node(1), failing)}, "known"},
		{"a node is missed", []cluster.Member{node(1), with(node(2), dead)}, "known node1"},
		{"all are missed", []cluster.Member{with(node(1), dead), with(node(2), dead)}, "known node1 node2"},
		{"what lives fails", []cluster.Member{with(node(1), failing), with(node(2), dead)}, "known node2"},
		{"all have left", []cluster.Member{with(node(1), left)}, "known"},
		{"it said that it leaves", []cluster.Member{with(node(1), func(m *cluster.Member) { m.Left = true; m.State = cluster.MemberDead })}, "known"},
		{"decided down", []cluster.Member{with(node(1), decided(5, 0, 2)), node(2)}, "known node1"},
		{"decided down and missed, nothing else", []cluster.Member{with(node(1), func(m *cluster.Member) { failing(m); decided(5, 0, 2)(m) }), with(node(2), dead)}, "known"},
		{"an older state does not count", []cluster.Member{with(node(1), decided(5, 0, 2)), with(node(3), decided(6, 0)), node(2)}, "known node1 node2 node3"},
		{"the newest state counts, though its server is missed", []cluster.Member{node(1), with(node(3), func(m *cluster.Member) { dead(m); decided(6, 0, 2)(m) }), node(2)}, "known node1"},
		{"a cluster formed anew counts from its beginning", []cluster.Member{with(node(1), decided(900, 0, 2)), with(node(3), decided(6, 1)), node(2)}, "known node1 node2 node3"},
		{"a client decides nothing", []cluster.Member{with(node(1), func(m *cluster.Member) { m.Server = false; decided(5, 0, 2)(m) }), node(2)}, "known node1 node2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := cluster.NewCatalog(test.members)
			for _, name := range []cluster.ServiceName{{Namespace: "default", Service: "web"}, {Namespace: "default", Service: "web", Tag: "v1"}} {
				if got := found(c, name); got != test.want {
					t.Errorf("%v: %s, want %s", name, got, test.want)
				}
			}
			if got := found(c, cluster.ServiceName{Namespace: "other", Service: "web"}); got != "unknown" {
				t.Errorf("the other namespace: %s", got)
			}
		})
	}
}

func TestCatalogKnowsNodesAndAddresses(t *testing.T) {
	inside := netip.MustParseAddr("172.17.0.2")
	c := cluster.NewCatalog([]cluster.Member{
		with(node(1), func(m *cluster.Member) { m.Endpoints[0].Address = inside }),
		with(node(2), func(m *cluster.Member) { m.State = cluster.MemberDead }),
		with(node(3), func(m *cluster.Member) { m.State = cluster.MemberLeft }),
	})
	for name, want := range map[string]string{"node1": "[10.0.0.1] true", "node2": "[10.0.0.2] true", "node3": "[] true", nodeID(1).String(): "[10.0.0.1] true", "node4": "[] false"} {
		addresses, known := c.Node(name)
		if got := fmt.Sprint(addresses, known); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for address, want := range map[string]string{
		"10.0.0.1": "[node1] [] true", "10.0.0.3": "[] [] false", "172.17.0.2": "[] [{default web }] true", "10.9.9.9": "[] [] false",
	} {
		nodes, services, known := c.Address(netip.MustParseAddr(address))
		if got := fmt.Sprint(nodes, services, known); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	if !c.Namespace("default") || c.Namespace("other") {
		t.Error("the namespaces are wrong")
	}
}

// drawMembers draws a small world in which names, nodes and addresses meet often.
func drawMembers(t *rapid.T) []cluster.Member {
	var members []cluster.Member
	for n := range rapid.IntRange(0, 6).Draw(t, "members") {
		m := node(n)
		m.Name = rapid.SampledFrom([]string{"a", "B", "b", ""}).Draw(t, "name")
		m.State = rapid.SampledFrom([]cluster.MemberState{cluster.MemberAlive, cluster.MemberDead, cluster.MemberLeft}).Draw(t, "state")
		m.Server = rapid.Bool().Draw(t, "server")
		m.Index = rapid.Uint64Range(0, 3).Draw(t, "index")
		for range rapid.IntRange(0, 2).Draw(t, "down") {
			m.Down = append(m.Down, nodeID(rapid.IntRange(0, 6).Draw(t, "down node")))
		}
		m.Endpoints = nil
		for range rapid.IntRange(0, 4).Draw(t, "endpoints") {
			m.Endpoints = append(m.Endpoints, drawEndpoint(t))
		}
		members = append(members, m)
	}
	return members
}

func drawEndpoint(t *rapid.T) cluster.Endpoint {
	return cluster.Endpoint{
		Alloc:     nodeID(rapid.IntRange(1, 5).Draw(t, "alloc")),
		Namespace: rapid.SampledFrom([]string{"default", "Team"}).Draw(t, "namespace"),
		Service:   rapid.SampledFrom([]string{"web", "WEB", "db"}).Draw(t, "service"),
		Tags:      rapid.SliceOfN(rapid.SampledFrom([]string{"a", "A", "b"}), 0, 3).Draw(t, "tags"),
		Address:   netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, 5).Draw(t, "address"))}),
		Port:      uint16(rapid.IntRange(1, 3).Draw(t, "port")),
		Passing:   rapid.Bool().Draw(t, "passing"),
	}
}

func TestCatalogIsTheSameInWhateverOrderMembersCome(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := drawMembers(t)
		shuffled := rapid.Permutation(members).Draw(t, "shuffled")
		if !reflect.DeepEqual(cluster.NewCatalog(members), cluster.NewCatalog(shuffled)) {
			t.Fatal("another order gives another catalog")
		}
	})
}

// TestCatalogNeverEmptiesAName: a name leads somewhere as long as any endpoint of it passes on a node that has not left
// and of which no server says that it is down.
func TestCatalogNeverEmptiesAName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := drawMembers(t)
		c := cluster.NewCatalog(members)
		for _, m := range members {
			anyDown := slices.ContainsFunc(members, func(s cluster.Member) bool { return s.Server && slices.Contains(s.Down, m.Node) })
			for _, e := range m.Endpoints {
				service := map[string]string{"web": "web", "WEB": "web", "db": "db"}[e.Service]
				namespace := map[string]string{"default": "default", "Team": "team"}[e.Namespace]
				endpoints, known := c.Service(cluster.ServiceName{Namespace: namespace, Service: service})
				if !known {
					t.Fatalf("%s is unknown", e.Service)
				}
				if e.Passing && m.State != cluster.MemberLeft && !anyDown && len(endpoints) == 0 {
					t.Fatalf("%s is empty, while %v passes on %v", e.Service, e, m.Node)
				}
				for _, answered := range endpoints {
					if !answered.Passing {
						t.Fatalf("%v does not pass", answered)
					}
				}
			}
		}
	})
}

func TestCatalogLooksUpWithoutMemory(t *testing.T) {
	c := cluster.NewCatalog([]cluster.Member{node(1), node(2)})
	address := netip.MustParseAddr("10.0.0.1")
	if n := testing.AllocsPerRun(100, func() {
		c.Service(cluster.ServiceName{Namespace: "default", Service: "web", Tag: "v1"})
		c.Node("node1")
		c.Address(address)
		c.Namespace("default")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkNewCatalog builds the catalog of 500 nodes with 20 endpoints each.
func BenchmarkNewCatalog(b *testing.B) {
	var members []cluster.Member
	for n := range 500 {
		m := node(n)
		m.Endpoints = nil
		for s := range 20 {
			m.Endpoints = append(m.Endpoints, cluster.Endpoint{Alloc: nodeID(s), Namespace: "default", Service: fmt.Sprintf("service%d", (n+s)%100), Tags: []string{"v1"}, Address: m.Address, Port: uint16(20000 + s), Passing: true})
		}
		members = append(members, m)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	b.ReportAllocs()
	for b.Loop() {
		cluster.NewCatalog(members)
	}
}
