package state

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/a43e60e4/cluster"
)

// encoder appends values to a buffer. Strings and IDs that repeat within one encoder are written once and
// referred to afterwards, so that a plan of a thousand placements names its group once.
type encoder struct {
	b       []byte
	base    int64 // times are written as differences from it
	strings map[string]uint64
	ids     map[cluster.ID]uint64
	err     error
}

func newEncoder(base int64) *encoder {
	return &encoder{base: base, strings: map[string]uint64{}, ids: map[cluster.ID]uint64{}}
}

func (e *encoder) byte(v byte)   { e.b = append(e.b, v) }
func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)   { e.b = binary.AppendVarint(e.b, v) }

func (e *encoder) bool(v bool) {
	if v {
		e.byte(1)
		return
	}
	e.byte(0)
}

// time writes unix nanoseconds; zero stays zero.
func (e *encoder) time(t int64) {
	e.bool(t != 0)
	if t != 0 {
		e.int(t - e.base)
	}
}

func (e *encoder) string(s string) {
	if ref, ok := e.strings[s]; ok {
		e.uint(ref)
		return
	}
	e.strings[s] = uint64(len(e.strings)) + 1
	e.uint(0)
	e.bytes(s)
}

func (e *encoder) bytes(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

// id writes 16 bytes at first sight and a reference later. Use rawID for IDs that never repeat.
func (e *encoder) id(id cluster.ID) {
	if ref, ok := e.ids[id]; ok {
		e.uint(ref)
		return
	}
	e.ids[id] = uint64(len(e.ids)) + 1
	e.uint(0)
	e.rawID(id)
}

func (e *encoder) rawID(id cluster.ID) { e.b = append(e.b, id[:]...) }

// json writes what is rare and wide. The type's own JSON methods apply to fields only: see the callers.
func (e *encoder) json(v any) {
	text, err := json.Marshal(v)
	if err != nil && e.err == nil {
		e.err = err
	}
	e.bytes(string(text))
}

func encodeMap[V any](e *encoder, m map[string]V, value func(V)) {
	e.uint(uint64(len(m)))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		e.string(key)
		value(m[key])
	}
}

func encodeSlice[T any](e *encoder, s []T, item func(*T)) {
	e.uint(uint64(len(s)))
	for i := range s {
		item(&s[i])
	}
}

// decoder reads what an encoder wrote. After the first fault every read yields zero and err tells the fault;
// nothing is allocated in proportion to a length that the input merely claims.
type decoder struct {
	b       []byte
	base    int64
	version byte
	intern  *interner
	strings []string
	ids     []cluster.ID
	err     error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
	d.b = nil
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("input ends too early")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) bool() bool {
	v := d.byte()
	if v > 1 {
		d.fail("truth value %d", v)
	}
	return v == 1
}

func (d *decoder) uint() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 {
		v := uint64(d.b[0])
		d.b = d.b[1:]
		return v
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("input ends within a number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v := d.uint()
	return int64(v>>1) ^ -int64(v&1)
}

func (d *decoder) time() int64 {
	if !d.bool() {
		return 0
	}
	return d.int() + d.base
}

// count reads the number of items that follow, each of which takes at least one byte.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail("%d items in %d bytes", n, len(d.b))
		return 0
	}
	return int(n)
}

// take reads the next n bytes; they belong to the input.
func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail("%d bytes wanted, %d left", n, len(d.b))
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte { return d.take(d.uint()) }

func (d *decoder) string() string {
	ref := d.uint()
	if ref > 0 {
		if ref > uint64(len(d.strings)) {
			d.fail("reference to string %d of %d", ref, len(d.strings))
			return ""
		}
		return d.strings[ref-1]
	}
	s := d.intern.string(d.bytes())
	if d.err == nil {
		d.strings = append(d.strings, s)
	}
	return s
}

func (d *decoder) id() cluster.ID {
	ref := d.uint()
	if ref > 0 {
		if ref > uint64(len(d.ids)) {
			d.fail("reference to ID %d of %d", ref, len(d.ids))
			return cluster.ID{}
		}
		return d.ids[ref-1]
	}
	id := d.rawID()
	if d.err == nil {
		d.ids = append(d.ids, id)
	}
	return id
}

func (d *decoder) rawID() (id cluster.ID) {
	copy(id[:], d.take(uint64(len(id))))
	return id
}

func (d *decoder) json(v any) {
	text := d.bytes()
	if d.err != nil {
		return
	}
	if err := json.Unmarshal(text, v); err != nil {
		d.fail("%w", err)
	}
}

// small bounds a number that becomes an int32.
func (d *decoder) small() int32 {
	v := d.int()
	if int64(int32(v)) != v {
		d.fail("number %d is out of range", v)
		return 0
	}
	return int32(v)
}

func decodeMap[V any](d *decoder, value func() V) map[string]V {
	n := d.count()
	if n == 0 {
		return nil
	}
	m := make(map[string]V, min(n, 64))
	for range n {
		if d.err != nil {
			return nil
		}
		key := d.string()
		m[key] = value()
	}
	return m
}

// decodeSlice reads a slice, nil when it is empty.
func decodeSlice[T any](d *decoder, item func(*T)) []T {
	n := d.count()
	if n == 0 {
		return nil
	}
	s := make([]T, 0, min(n, 1024))
	for range n {
		if d.err != nil {
			return nil
		}
		s = append(s, *new(T))
		item(&s[len(s)-1])
	}
	return slices.Clip(s)
}

// interner gives equal short strings one memory. It forgets everything when it grows too large; nil interns nothing.
type interner struct{ known map[string]string }

const (
	maxInternLength = 64
	maxInterned     = 1 << 16
)

func (in *interner) string(b []byte) string {
	if in == nil || len(b) > maxInternLength {
		return string(b)
	}
	if s, ok := in.known[string(b)]; ok {
		return s
	}
	if in.known == nil || len(in.known) >= maxInterned {
		in.known = make(map[string]string)
	}
	s := string(b)
	in.known[s] = s
	return s
}
