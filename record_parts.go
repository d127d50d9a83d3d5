package cluster

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
)

// MaxRecordPart is how many bytes a part of a record has at most, so that it fits into one packet together with its
// signature. Only a head whose names and addresses alone are longer is longer.
const MaxRecordPart = 900

// What DecodeRecord accepts at most. A newer release may write larger parts than this one, not without limit.
const (
	maxDecodedPart      = 4 << 10
	maxDecodedParts     = 1 << 14
	maxDecodedRecord    = 4 << 20
	maxDecodedEndpoints = 1 << 15
	maxDecodedDown      = 1 << 16
)

// RecordParts cuts the records of one node into parts for gossip: part 0 is the head, each other part holds endpoints of
// one allocation, or nodes that are down and did not fit into the head. It remembers where everything was, so that a
// change of one allocation changes one part. The zero value is ready; it may not be used concurrently.
type RecordParts struct {
	slots   []slot // of parts 1 and following
	omitted int
}

// slot is what one part holds: the piece-th of an allocation in a namespace, or of the list of nodes that are down.
// The zero slot is free.
type slot struct {
	key  pieceKey
	used bool
	data []byte
}

type pieceKey struct {
	alloc     ID // zero for nodes that are down
	namespace string
	piece     int
}

// recordHead is part 0.
type recordHead struct {
	*Record
	Down idList `json:"d,omitempty"`
}

// recordPart is any other part. Address is the one of all endpoints that have none of their own.
type recordPart struct {
	Alloc     ID         `json:"i,omitzero"`
	Namespace string     `json:"n,omitzero"` // "" is the default one
	Address   netip.Addr `json:"a,omitzero"`
	Endpoints []endpoint `json:"e,omitempty"`
	Down      idList     `json:"d,omitempty"`
}

// endpoint is an endpoint in a part. If More is set, it only adds tags to the same endpoint of another part.
type endpoint struct {
	Endpoint
	More bool `json:"m,omitzero"`
}

// idList is IDs one after another: in JSON, 22 bytes each.
type idList []byte

func newIDList(ids []ID) idList {
	list := make(idList, 0, len(ids)*len(ID{}))
	for _, id := range ids {
		list = append(list, id[:]...)
	}
	return list
}

func (l idList) ids() []ID {
	all := make([]ID, 0, len(l)/len(ID{}))
	for id := range slices.Chunk(l, len(ID{})) {
		if len(id) == len(ID{}) {
			all = append(all, ID(id))
		}
	}
	return all
}

// Update gives the parts of the record. What did not change since the last call stands where it stood, with the same
// bytes. A part that is not needed any more is empty, until something else takes its place; the list never gets shorter.
// The caller may keep the parts, and must not modify them.
func (p *RecordParts) Update(r Record) [][]byte {
	p.omitted = 0
	head, rest := encodeHead(r)
	pieces := map[pieceKey][]byte{}
	for i, down := range slices.Collect(slices.Chunk(rest, downPerPart)) {
		pieces[pieceKey{piece: i}] = encodePart(recordPart{Down: newIDList(down)})
	}
	endpoints := slices.Clone(r.Endpoints)
	slices.SortStableFunc(endpoints, compareEndpoints)
	for len(endpoints) > 0 {
		first := endpoints[0]
		n := slices.IndexFunc(endpoints, func(e Endpoint) bool { return e.Alloc != first.Alloc || e.Namespace != first.Namespace })
		if n < 0 {
			n = len(endpoints)
		}
		for i, part := range p.cut(endpoints[:n]) {
			pieces[pieceKey{first.Alloc, first.Namespace, i}] = part
		}
		endpoints = endpoints[n:]
	}
	p.assign(pieces)
	parts := make([][]byte, 1, 1+len(p.slots))
	parts[0] = head
	for i := range p.slots {
		parts = append(parts, p.slots[i].data)
	}
	return parts
}

// Omitted is how many tags of the last record are in no part, because a single one is longer than a part.
func (p *RecordParts) Omitted() int { return p.omitted }

// assign puts each piece where it was, and new ones into free slots.
func (p *RecordParts) assign(pieces map[pieceKey][]byte) {
	for i := range p.slots {
		s := &p.slots[i]
		data, wanted := pieces[s.key]
		if !s.used || !wanted {
			*s = slot{}
			continue
		}
		s.data = data
		delete(pieces, s.key)
	}
	free := 0
	for _, key := range sortedPieces(pieces) {
		for free < len(p.slots) && p.slots[free].used {
			free++
		}
		if free == len(p.slots) {
			p.slots = append(p.slots, slot{})
		}
		p.slots[free] = slot{key, true, pieces[key]}
	}
}

func sortedPieces(pieces map[pieceKey][]byte) []pieceKey {
	keys := make([]pieceKey, 0, len(pieces))
	for key := range pieces {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b pieceKey) int {
		return cmp.Or(a.alloc.Compare(b.alloc), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.piece, b.piece))
	})
	return keys
}

// downPerPart is how many IDs fit into a part of their own.
const downPerPart = 40

// encodeHead is part 0, with as many of the nodes that are down as fit, and the others.
func encodeHead(r Record) (head []byte, rest []ID) {
	down := slices.Compact(slices.SortedFunc(slices.Values(r.Down), ID.Compare))
	head = encodePart(recordHead{Record: &r})
	fit := min(len(down), max(0, (MaxRecordPart-len(head)-len(`,"d":""`)-2)*3/4/len(ID{})))
	if fit > 0 {
		head = encodePart(recordHead{&r, newIDList(down[:fit])})
	}
	return head, down[fit:]
}

// encodePart writes JSON. What it is given holds nothing that could fail.
func encodePart(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// cut gives the parts of one allocation's endpoints, which are sorted. Where one part ends and the next begins does not
// depend on which endpoints pass.
func (p *RecordParts) cut(endpoints []Endpoint) [][]byte {
	blank := recordPart{Alloc: endpoints[0].Alloc, Namespace: endpoints[0].Namespace, Address: endpoints[0].Address}
	if blank.Namespace == DefaultNamespace {
		blank.Namespace = ""
	}
	empty := len(encodePart(blank)) + len(`,"e":[]`)
	var parts [][]byte
	part, size := blank, empty
	for _, e := range endpoints {
		for _, piece := range p.split(e, blank.Address, MaxRecordPart-empty) {
			more := len(encodePart(piece)) + len(`,"o":true`)
			if size+more > MaxRecordPart && len(part.Endpoints) > 0 {
				parts = append(parts, encodePart(part))
				part, size = blank, empty
			}
			part.Endpoints = append(part.Endpoints, piece)
			size += more
		}
	}
	return append(parts, encodePart(part))
}

// split gives the endpoint in pieces of at most limit bytes: the first, and others that hold only more of its tags.
func (p *RecordParts) split(e Endpoint, common netip.Addr, limit int) []endpoint {
	tags := e.Tags
	if e.Address == common {
		e.Address = netip.Addr{}
	}
	e.Tags = nil
	bare := endpoint{Endpoint: e, More: true}
	bare.Passing = true
	room := limit - len(encodePart(bare)) - len(`,"t":[],`)
	pieces := []endpoint{{Endpoint: e}}
	used := 0
	for _, tag := range tags {
		size := len(encodePart(tag)) + 1
		if size > room {
			p.omitted++
			continue
		}
		if used+size > room {
			pieces = append(pieces, endpoint{Endpoint: e, More: true})
			used = 0
		}
		used += size
		last := &pieces[len(pieces)-1]
		last.Tags = append(last.Tags, tag)
	}
	return pieces
}

// compareEndpoints is the order of endpoints in a decoded record.
func compareEndpoints(a, b Endpoint) int {
	return cmp.Or(a.Alloc.Compare(b.Alloc), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Service, b.Service),
		a.Address.Compare(b.Address), cmp.Compare(a.Port, b.Port))
}

// DecodeRecord reads what Update wrote, in any release: what it does not know it leaves out, and empty parts are
// nothing. The parts may be of different versions of the record: each allocation's endpoints are right by themselves.
// Without a head, or if any part is not of a record, there is no record. Endpoints come sorted by allocation, namespace
// and service, the nodes that are down by their ID.
func DecodeRecord(node ID, parts [][]byte) (Record, error) {
	if err := checkParts(node, parts); err != nil {
		return Record{}, err
	}
	var r Record
	head := recordHead{Record: &r}
	if err := json.Unmarshal(parts[0], &head); err != nil || head.Record == nil {
		return Record{}, Errorf(CodeInvalid, "decode record of node %s: its head is not one: %w", node, err)
	}
	r.Node, r.Address = node, r.Address.Unmap().WithZone("")
	r.Down = head.Down.ids()
	var more []Endpoint
	for i, data := range parts[1:] {
		if len(data) == 0 {
			continue
		}
		var part recordPart
		if err := json.Unmarshal(data, &part); err != nil {
			return Record{}, Errorf(CodeInvalid, "decode record of node %s: part %d is not one: %w", node, i+1, err)
		}
		r.Down = append(r.Down, part.Down.ids()...)
		for _, e := range part.Endpoints {
			if e.More {
				more = append(more, part.whole(e))
			} else if e.Service != "" {
				r.Endpoints = append(r.Endpoints, part.whole(e))
			}
		}
		if len(r.Endpoints)+len(more) > maxDecodedEndpoints || len(r.Down) > maxDecodedDown {
			return Record{}, Errorf(CodeTooLarge, "decode record of node %s: it has over %d endpoints or %d nodes that are down", node, maxDecodedEndpoints, maxDecodedDown)
		}
	}
	slices.SortStableFunc(r.Endpoints, compareEndpoints)
	addTags(r.Endpoints, more)
	slices.SortFunc(r.Down, ID.Compare)
	if r.Down = slices.Compact(r.Down); len(r.Down) == 0 {
		r.Down = nil
	}
	return r, nil
}

func checkParts(node ID, parts [][]byte) error {
	total := 0
	for i, part := range parts {
		if total += len(part); len(part) > maxDecodedPart {
			return Errorf(CodeTooLarge, "decode record of node %s: part %d has %d bytes, the limit is %d", node, i, len(part), maxDecodedPart)
		}
	}
	switch {
	case len(parts) == 0 || len(parts[0]) == 0:
		return Errorf(CodeInvalid, "decode record of node %s: it has no head", node)
	case len(parts) > maxDecodedParts || total > maxDecodedRecord:
		return Errorf(CodeTooLarge, "decode record of node %s: it has %d parts and %d bytes, the limits are %d and %d", node, len(parts), total, maxDecodedParts, maxDecodedRecord)
	}
	return nil
}

// whole is the endpoint with what its part says of all.
func (p *recordPart) whole(e endpoint) Endpoint {
	e.Alloc, e.Namespace = p.Alloc, cmp.Or(p.Namespace, DefaultNamespace)
	if !e.Address.IsValid() {
		e.Address = p.Address
	}
	e.Address = e.Address.Unmap().WithZone("")
	return e.Endpoint
}

// addTags gives the sorted endpoints the tags that stood in other parts. Those of an endpoint that is not there (yet)
// are left out.
func addTags(endpoints, more []Endpoint) {
	for _, m := range more {
		if at, found := slices.BinarySearchFunc(endpoints, m, compareEndpoints); found {
			endpoints[at].Tags = append(endpoints[at].Tags, m.Tags...)
		}
	}
}
