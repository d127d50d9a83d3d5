package gossip

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"maps"
	"slices"
)

// record is what is known of one node's parts: the newest complete publication, and parts of newer ones. The zero value
// knows nothing. It is a value: with and settled return another and leave this one as it is. All parts are verified
// before they come here.
type record struct {
	base []part          // complete, by index; nil: none
	news map[uint16]part // newer than base; of each index the newest
}

// key identifies a publication.
type key struct {
	version version
	vector  [32]byte
}

func (k key) compare(o key) int {
	return cmp.Or(k.version.compare(o.version), bytes.Compare(k.vector[:], o.vector[:]))
}

func (p part) key() key { return key{p.version, p.vector} }

// newest is the part of the newest publication among them.
func newest(parts func(yield func(part) bool)) (part, bool) {
	var best part
	found := false
	for p := range parts {
		if !found || p.compare(best) > 0 {
			best, found = p, true
		}
	}
	return best, found
}

// head is the header of the complete publication.
func (r record) head() (part, bool) { return newest(slices.Values(r.base)) }

// rumour is the header of the newest publication of which anything is known, complete or not.
func (r record) rumour() (part, bool) {
	if p, ok := newest(maps.Values(r.news)); ok {
		return p, true
	}
	return r.head()
}

// certificate is the certificate with the fingerprint, nil if it is not here.
func (r record) certificate(print [8]byte) []byte {
	for _, p := range []part{r.news[0], r.first()} {
		if p.body != nil && fingerprint(p.body) == print {
			return p.body
		}
	}
	return nil
}

func (r record) first() part {
	if len(r.base) == 0 {
		return part{}
	}
	return r.base[0]
}

// knows reports whether the part would change nothing.
func (r record) knows(p part) bool {
	if head, ok := r.head(); ok && p.key().compare(head.key()) <= 0 {
		return true
	}
	old, ok := r.news[p.index]
	if !ok {
		return false
	}
	order := p.compare(old)
	return order < 0 || order == 0 && (p.body == nil || old.body != nil)
}

// disputes reports whether the part says something else under a version that is known, which no honest node does.
func (r record) disputes(p part) bool {
	differs := func(old part) bool {
		return old.version == p.version && (old.vector != p.vector || old.index == p.index && old.hash != p.hash)
	}
	if head, ok := r.head(); ok && differs(head) {
		return true
	}
	for _, old := range r.news {
		if differs(old) {
			return true
		}
	}
	return false
}

// with is the record that knows these parts too. Order and repetition of parts make no difference.
func (r record) with(parts ...part) record {
	head, complete := r.head()
	news := maps.Clone(r.news)
	for _, p := range parts {
		if complete && p.key().compare(head.key()) <= 0 {
			continue
		}
		old, ok := news[p.index]
		if order := p.compare(old); ok && (order < 0 || order == 0 && old.body != nil) {
			continue
		}
		if news == nil {
			news = map[uint16]part{}
		}
		news[p.index] = p
	}
	return record{r.base, news}
}

// settled is the record with the newest publication that its parts complete as its base. Only the newest one that is
// known of can be; it is the one that everybody will have.
func (r record) settled() record {
	head, ok := newest(maps.Values(r.news))
	if !ok || len(r.news)+len(r.base) < int(head.count) {
		return r
	}
	base := make([]part, head.count)
	size := 0
	for i := range base {
		p, ok := r.news[uint16(i)]
		if !ok && i < len(r.base) {
			p, ok = r.base[i], true
		}
		if size += len(p.body); !ok || p.body == nil || p.version.registration != head.version.registration || size > maxRecord+maxBody {
			return r
		}
		base[i] = p
	}
	if vectorOf(base) != head.vector {
		return r
	}
	return record{base: base}
}

// weight is how many bytes the parts that wait for others have.
func (r record) weight() int {
	sum := 0
	for _, p := range r.news {
		sum += len(p.body)
	}
	return sum
}

// bodies are the parts that the node's user published.
func (r record) bodies() [][]byte {
	if len(r.base) < 2 {
		return nil
	}
	all := make([][]byte, 0, len(r.base)-1)
	for _, p := range r.base[1:] {
		all = append(all, p.body)
	}
	return all
}

// since are the parts of the complete record that somebody lacks who has the version, in the order of their indexes.
func (r record) since(have version) []part {
	head, ok := r.head()
	if !ok {
		return nil
	}
	all := make([]part, 0, len(r.base))
	for _, p := range r.base {
		if have.registration != head.version.registration || p.version.edition > have.edition {
			all = append(all, p)
		}
	}
	return all
}

// publication is what a node says: its certificate and its parts.
type publication struct {
	certificate []byte
	bodies      [][]byte
	left        bool
}

// next are the parts of a record that says this after the old one, unsigned where they changed (signature is nil).
// Everything changes with the certificate, because each part is signed for one, and with a goodbye. Nothing changed: nil.
func (p publication) next(old []part, template part) []part {
	bodies := append([][]byte{p.certificate}, p.bodies...)
	all := make([]part, 0, len(bodies))
	changed := len(bodies) != len(old)
	renewed := len(old) == 0 || !bytes.Equal(old[0].body, p.certificate) || old[0].left != p.left
	for i, body := range bodies {
		if !renewed && i < len(old) && bytes.Equal(old[i].body, body) {
			all = append(all, old[i])
			continue
		}
		changed = true
		all = append(all, template.at(i, body))
	}
	if !changed {
		return nil
	}
	if !slices.ContainsFunc(all, func(p part) bool { return p.version == template.version }) {
		all[0] = template.at(0, p.certificate) // fewer parts than before: somebody has to say so
	}
	vector, print := vectorOf(all), fingerprint(p.certificate)
	for i := range all {
		if all[i].version == template.version {
			all[i].count, all[i].vector, all[i].certificate, all[i].left = uint16(len(all)), vector, print, p.left
		}
	}
	return all
}

// at is a part of the template's node and version with its own index and body.
func (p part) at(index int, body []byte) part {
	p.index, p.body, p.hash, p.signature = uint16(index), append([]byte{}, body...), sha256.Sum256(body), nil
	return p
}
