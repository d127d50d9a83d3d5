package cluster_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/a43e60e4/cluster"
)

// full is a record with everything set and the given number of allocations.
func full(allocs int) cluster.Record {
	r := cluster.Record{
		Node: nodeID(1), Name: "edge-rack-7", Datacenter: "dc1", Address: netip.MustParseAddr("192.168.100.123"),
		RPC: "192.168.100.123:4647", HTTP: "192.168.100.123:4646", TLS: true, Server: true, Client: true, Version: "v0.12.3",
		Commands: 31, Epoch: 1, Restarting: true, Left: true, Index: 123456789, Down: []cluster.ID{nodeID(7)},
	}
	for n := range allocs {
		alloc := cluster.IDFrom([16]byte{1, 2, 3}, uint32(n))
		for i, service := range []string{"web", "web-metrics"} {
			r.Endpoints = append(r.Endpoints, cluster.Endpoint{Alloc: alloc, Namespace: "default", Service: service, Tags: []string{"v1", "public"}, Address: r.Address, Port: uint16(20000 + 2*n + i), Passing: true})
		}
	}
	slices.SortFunc(r.Endpoints, func(a, b cluster.Endpoint) int {
		if c := a.Alloc.Compare(b.Alloc); c != 0 {
			return c
		}
		return strings.Compare(a.Service, b.Service)
	})
	return r
}

// changed lists the positions at which two lists of parts differ.
func changed(a, b [][]byte) []int {
	var at []int
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || !bytes.Equal(a[i], b[i]) {
			at = append(at, i)
		}
	}
	return at
}

func TestRecordSurvivesItsParts(t *testing.T) {
	want := full(50)
	for range 200 {
		want.Down = append(want.Down, nodeID(1000+len(want.Down)))
	}
	want.Endpoints[3].Namespace = "team"
	want.Endpoints[4].Address = netip.MustParseAddr("fd00::1")
	want.Endpoints[6].Tags = nil
	for i := range 100 {
		want.Endpoints[6].Tags = append(want.Endpoints[6].Tags, fmt.Sprintf("traefik.http.routers.r%d.rule=Host(`a.example`)", i))
	}
	var p cluster.RecordParts
	parts := p.Update(want)
	for i, part := range parts {
		if len(part) > cluster.MaxRecordPart {
			t.Errorf("part %d has %d bytes: %s", i, len(part), part)
		}
	}
	got, err := cluster.DecodeRecord(want.Node, parts)
	if err != nil {
		t.Fatal(err)
	}
	// Tags that did not fit come after the others, in their order.
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if p.Omitted() != 0 {
		t.Errorf("%d tags are omitted", p.Omitted())
	}
	want.Endpoints[0].Tags = []string{strings.Repeat("x", 2000), "v1"}
	if p.Update(want); p.Omitted() != 1 {
		t.Errorf("%d tags are omitted, want 1", p.Omitted())
	}
}

func TestRecordPartsAreSmall(t *testing.T) {
	var p cluster.RecordParts
	parts := p.Update(full(1))
	t.Logf("head %d bytes, allocation of two services %d bytes: %s %s", len(parts[0]), len(parts[1]), parts[0], parts[1])
	if len(parts[0]) > 300 || len(parts[1]) > 300 {
		t.Errorf("head %d bytes, allocation %d", len(parts[0]), len(parts[1]))
	}
}

func TestOneChangeChangesOnePart(t *testing.T) {
	var p cluster.RecordParts
	r := full(20)
	before := p.Update(r)
	step := func(what string, want int) {
		t.Helper()
		after := p.Update(r)
		if at := changed(before, after); len(at) != want {
			t.Errorf("%s: parts %v changed, want %d", what, at, want)
		}
		before = after
	}
	step("nothing", 0)
	r.Endpoints = slices.Clone(r.Endpoints)
	r.Endpoints[7].Passing = false
	step("a check fails", 1)
	r.Index++
	step("the state goes on", 1)
	gone := r.Endpoints[:2]
	r.Endpoints = r.Endpoints[2:]
	step("an allocation ends", 1)
	fresh := slices.Clone(gone)
	for i := range fresh {
		fresh[i].Alloc = nodeID(999)
	}
	r.Endpoints = append(slices.Clone(r.Endpoints), fresh...)
	step("another starts", 1)
	if len(before) != 21 {
		t.Errorf("there are %d parts: the free one was not used again", len(before))
	}
	slices.Reverse(r.Endpoints)
	step("the order", 0)
	r.Endpoints = nil
	step("all end", 20)
	if len(before) != 21 {
		t.Errorf("the list got shorter: %d", len(before))
	}
}

func TestDecodingARecordForgivesTheFutureOnly(t *testing.T) {
	head := []byte(`{"n":"a","future":{"x":[1]},"a":"::ffff:10.0.0.1"}`)
	r, err := cluster.DecodeRecord(nodeID(1), [][]byte{head, nil, []byte(`{"kind":"later","z":1}`), []byte(`{"i":"","e":[{"s":"web","p":1,"later":true},{"p":5}]}`)})
	if err != nil || r.Name != "a" || r.Address != netip.MustParseAddr("10.0.0.1") || len(r.Endpoints) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	for name, parts := range map[string][][]byte{
		"nothing":        nil,
		"no head":        {nil, []byte(`{}`)},
		"null":           {[]byte(`null garbage`)},
		"garbage":        {head, []byte("garbage")},
		"a bad port":     {head, []byte(`{"e":[{"s":"web","p":70000}]}`)},
		"a large part":   {head, bytes.Repeat([]byte(" "), 5000)},
		"many parts":     append([][]byte{head}, make([][]byte, 1<<14)...),
		"many endpoints": append([][]byte{head}, slices.Repeat([][]byte{[]byte(`{"e":[` + strings.Repeat(`{"s":"a"},`, 300) + `{}]}`)}, 120)...),
	} {
		if r, err := cluster.DecodeRecord(nodeID(1), parts); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestRecordPartsFollowAnyChange: after any series of records, the parts are the last record, none is too long, and
// allocations that did not change did not move.
func TestRecordPartsFollowAnyChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p cluster.RecordParts
		var before [][]byte
		for range rapid.IntRange(1, 5).Draw(t, "updates") {
			r := cluster.Record{Node: nodeID(1), Name: "a", Index: rapid.Uint64().Draw(t, "index")}
			for range rapid.IntRange(0, 12).Draw(t, "endpoints") {
				r.Endpoints = append(r.Endpoints, drawEndpoint(t))
			}
			after := p.Update(r)
			for _, part := range after[1:] {
				at := slices.IndexFunc(before, func(b []byte) bool { return len(part) > 0 && bytes.Equal(b, part) })
				if at > 0 && !bytes.Equal(after[at], part) {
					t.Fatalf("%s has moved", part)
				}
			}
			before = after
			got, err := cluster.DecodeRecord(r.Node, after)
			if err != nil {
				t.Fatal(err)
			}
			if count(got.Endpoints) != count(r.Endpoints) || got.Index != r.Index {
				t.Fatalf("got %v, want %v", got, r)
			}
		}
	})
}

// count is a text of how often each endpoint is there.
func count(endpoints []cluster.Endpoint) string {
	lines := make([]string, len(endpoints))
	for i, e := range endpoints {
		e.Tags = append([]string{}, e.Tags...)
		lines[i] = fmt.Sprint(e)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func FuzzDecodeRecord(f *testing.F) {
	var p cluster.RecordParts
	parts := p.Update(full(2))
	f.Add(parts[0], parts[1], parts[2])
	f.Add([]byte(`{}`), []byte(`{"d":"AAAA"}`), []byte(`{"e":[{"s":"a","m":true,"t":["x"]}]}`))
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		r, err := cluster.DecodeRecord(nodeID(1), [][]byte{a, b, c})
		if err != nil {
			return
		}
		// What was decoded can be said again, and means the same.
		var p cluster.RecordParts
		again, err := cluster.DecodeRecord(nodeID(1), p.Update(r))
		if err != nil {
			t.Fatal(err)
		}
		if p.Omitted() > 0 || slices.ContainsFunc(r.Endpoints, func(e cluster.Endpoint) bool { return !e.Address.IsValid() }) {
			return
		}
		if x, y := text(r), text(again); x != y {
			t.Fatalf("%s\n%s", x, y)
		}
		cluster.NewCatalog([]cluster.Member{{Record: r, State: cluster.MemberAlive}})
	})
}

func text(r cluster.Record) string {
	data, _ := json.Marshal(r)
	return string(data) + fmt.Sprint(r.Down) + count(r.Endpoints)
}
