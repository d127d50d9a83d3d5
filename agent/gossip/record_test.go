package gossip

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/a43e60e4/cluster"
)

var someNode = cluster.ID{7}

// anyPart is a part as an enemy might sign it: versions, vectors and bodies contradict one another.
func anyPart(t *rapid.T) part {
	p := part{
		node: someNode, count: 4, left: rapid.Bool().Draw(t, "left"),
		version: version{rapid.Uint64Range(1, 2).Draw(t, "registration"), rapid.Uint64Range(1, 4).Draw(t, "edition")},
		vector:  [32]byte{rapid.Byte().Draw(t, "vector") % 3},
	}
	p = p.at(rapid.IntRange(0, 3).Draw(t, "index"), []byte{rapid.Byte().Draw(t, "body") % 3})
	p.signature = []byte{1}
	if rapid.Bool().Draw(t, "header only") {
		p.body = nil
	}
	return p
}

func shuffled(t *rapid.T, parts []part) []part {
	all := slices.Clone(parts)
	for range rapid.IntRange(0, 5).Draw(t, "repeated") {
		if len(parts) > 0 {
			all = append(all, parts[rapid.IntRange(0, len(parts)-1).Draw(t, "which")])
		}
	}
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// Merging is commutative, associative and idempotent, whatever is merged: order, grouping and repetition change nothing.
func TestMergingIsASetUnion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.Custom(anyPart), 0, 12).Draw(t, "parts")
		base := record{base: publication{certificate: []byte("c"), bodies: [][]byte{{1}}}.next(nil, part{node: someNode, version: version{1, 2}})}
		for _, start := range []record{{}, base} {
			want := start.with(parts...)
			one := start
			for _, p := range shuffled(t, parts) {
				one = one.with(p)
			}
			cut := rapid.IntRange(0, len(parts)).Draw(t, "cut")
			two := start.with(parts[cut:]...).with(parts[:cut]...)
			for _, got := range []record{one, two} {
				if len(got.news)+len(want.news) > 0 && !reflect.DeepEqual(got, want) {
					t.Fatalf("got  %v\nwant %v", got, want)
				}
			}
		}
	})
}

// history is what a node publishes, one record after another, and all parts that it ever sent.
func history(t *rapid.T) (records [][]part, sent []part) {
	certificate := []byte("certificate 1")
	var last []part
	registration, edition := uint64(1), uint64(0)
	for range rapid.IntRange(1, 8).Draw(t, "publications") {
		bodies := make([][]byte, rapid.IntRange(0, 5).Draw(t, "parts"))
		for i := range bodies {
			bodies[i] = []byte{rapid.Byte().Draw(t, "body") % 3}
		}
		switch rapid.IntRange(0, 9).Draw(t, "what") {
		case 0:
			certificate = append(certificate, 'x')
		case 1: // a new disk
			registration, edition, last = registration+1, 0, nil
		case 2: // a restart
			edition, last = edition+100, nil
		}
		edition++
		left := rapid.IntRange(0, 9).Draw(t, "left") == 0
		if left {
			bodies = nil
		}
		next := publication{certificate, bodies, left}.next(last, part{node: someNode, version: version{registration, edition}})
		if next == nil {
			continue
		}
		for i := range next {
			if next[i].signature == nil {
				next[i].signature = []byte{1}
				sent = append(sent, next[i])
			}
		}
		last = next
		records = append(records, next)
	}
	return records, sent
}

// Whatever is lost of what came before, who has all parts of the last publication shows exactly that; and who does not
// shows one that was published, whole.
func TestEverybodyEndsWithTheLastPublication(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records, sent := history(t)
		last := records[len(records)-1]
		var got []part
		for _, p := range sent {
			if rapid.Bool().Draw(t, "arrives") {
				got = append(got, p)
			}
		}
		var r record
		for _, p := range shuffled(t, got) {
			r = r.with(p).settled()
			if r.base != nil && !slices.ContainsFunc(records, func(was []part) bool { return reflect.DeepEqual(was, r.base) }) {
				t.Fatalf("shows what was never published: %v", r.base)
			}
		}
		for _, p := range shuffled(t, last) {
			r = r.with(p).settled()
		}
		if !reflect.DeepEqual(r.base, last) || len(r.news) > 0 {
			t.Fatalf("got  %v\nwant %v", r.base, last)
		}
	})
}

// A delta from any earlier complete record leads to the last one.
func TestDeltaIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records, _ := history(t)
		have := record{base: records[rapid.IntRange(0, len(records)-1).Draw(t, "have")]}
		last := record{base: records[len(records)-1]}
		head, _ := have.head()
		delta := last.since(head.version)
		if got := have.with(delta...).settled(); !reflect.DeepEqual(got.base, last.base) {
			t.Fatalf("got  %v\nwant %v", got.base, last.base)
		}
	})
}

func TestAnswersAreContinued(t *testing.T) {
	records := map[cluster.ID]record{}
	var items []item
	want := 0
	for i := range 5 {
		id := cluster.ID{byte(i + 1)}
		var bodies [][]byte
		for j := range 40 {
			bodies = append(bodies, bytes.Repeat([]byte{byte(j)}, maxBody-j))
		}
		all := publication{certificate: []byte("c"), bodies: bodies}.next(nil, part{node: id, version: version{1, 1}})
		records[id] = record{base: all}
		items = append(items, item{node: id})
		want += len(all)
	}
	got, rounds := 0, 0
	for items != nil {
		b := answerTo(items, func(id cluster.ID) record { return records[id] }).encode()
		if len(b) > MaxAnswer {
			t.Fatalf("an answer of %d bytes", len(b))
		}
		a, err := decodeAnswer(b)
		if err != nil {
			t.Fatal(err)
		}
		got += len(a.parts)
		rounds++
		items = a.remaining(items)
	}
	if got != want || rounds < 2 {
		t.Errorf("%d of %d parts in %d rounds", got, want, rounds)
	}
}

// The largest part that is promised to travel in one packet does.
func TestInlineFits(t *testing.T) {
	p := part{node: someNode, count: 1, version: version{1, 1}, signature: make([]byte, 72)}.at(0, make([]byte, Inline))
	if n := len(encodePart(p)); n > maxPacket {
		t.Errorf("%d bytes, a packet has %d", n, maxPacket)
	}
	// What memberlist adds: label, encryption, compound header and entry, its kind of message.
	if n := maxPacket + 2 + 64 + 29 + 2 + 2 + 1; n > packetSize {
		t.Errorf("a message of %d bytes needs a packet of %d, they have %d", maxPacket, n, packetSize)
	}
}

func FuzzMessage(f *testing.F) {
	p := part{node: someNode, count: 2, version: version{3, 4}, signature: []byte("signed")}.at(1, []byte("body"))
	f.Add(encodePart(p))
	f.Add(encodeAnnounce(p, cluster.ID{9}))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMessage(b)
		if err != nil {
			return
		}
		again := encodePart(m.part)
		if !m.teller.IsZero() {
			again = encodeAnnounce(m.part, m.teller)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
		r := record{}.with(m.part).settled()
		r.knows(m.part)
		r.disputes(m.part)
	})
}

func FuzzSummary(f *testing.F) {
	f.Add(summary{someNode, []digest{{node: someNode, version: version{1, 2}}}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeSummary(b); err == nil && !bytes.Equal(s.encode(), b) {
			t.Errorf("%x became %x", b, s.encode())
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add(encodeRequest([]item{{someNode, version{1, 2}, 3}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		items, err := decodeRequest(b)
		if err != nil {
			return
		}
		if !bytes.Equal(encodeRequest(items), b) {
			t.Errorf("%x became %x", b, encodeRequest(items))
		}
		all := publication{certificate: []byte("c"), bodies: [][]byte{{1}, {2}}}.next(nil, part{node: someNode, version: version{1, 1}})
		answerTo(items, func(cluster.ID) record { return record{base: all} })
	})
}

func FuzzAnswer(f *testing.F) {
	all := publication{certificate: []byte("c"), bodies: [][]byte{{1}, {2}}}.next(nil, part{node: someNode, version: version{1, 1}})
	f.Add(answer{parts: all, more: true, next: 1, from: 2}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeAnswer(b)
		if err != nil {
			return
		}
		if !bytes.Equal(a.encode(), b) {
			t.Errorf("%x became %x", b, a.encode())
		}
		a.remaining([]item{{}, {}})
		record{}.with(a.parts...).settled()
	})
}

func FuzzName(f *testing.F) {
	f.Add("3d6ef362-0000-4000-8000-000002000000@10.0.0.2:4648")
	f.Fuzz(func(t *testing.T, name string) {
		if id, at, err := parseName(name); err == nil && nameOf(id, at) != name {
			t.Errorf("%q is %v at %v", name, id, at)
		}
		parseMeta([]byte(name))
	})
}
