package state

import (
	"bytes"
	"slices"

	"github.com/a43e60e4/cluster"
)

// SwapMeta changes small facts about the cluster together, or, if one of them is not as its proposer saw it, none of them
// (CodeConflict). A key may stand in it once.
type SwapMeta struct {
	At        int64
	RequestID string
	Swaps     []MetaSwap
}

// MetaSwap is what becomes of one key.
type MetaSwap struct {
	Key string
	Old []byte // the value that it must have; nil: it must not be there
	New []byte // nil removes the key
}

func (c *SwapMeta) kind() Kind      { return KindSwapMeta }
func (c *SwapMeta) at() int64       { return c.At }
func (c *SwapMeta) request() string { return c.RequestID }

func (c *SwapMeta) apply(w *writer) (Result, error) {
	for _, s := range c.Swaps {
		entry, there := w.meta.get(s.Key)
		if there != (s.Old != nil) || there && !bytes.Equal(entry.value, s.Old) {
			return Result{}, cluster.Errorf(cluster.CodeConflict, "change %q: it has changed meanwhile", s.Key)
		}
	}
	for _, s := range c.Swaps {
		w.setMeta(s.Key, s.New)
	}
	return Result{}, nil
}

// setMeta stores a fact; nil removes it.
func (w *writer) setMeta(key string, value []byte) {
	w.touched.add(MetaKey(key))
	if key == MetaTrackedVersions {
		w.trackedVersions = readTracked(value)
	}
	if value == nil {
		w.meta.remove(key)
		w.remove(Meta)
		return
	}
	w.meta.set(key, metaEntry{slices.Clone(value), w.index})
	w.change(Meta)
}

func (c *SwapMeta) encode(e *encoder) {
	e.bytes(c.RequestID)
	encodeSlice(e, c.Swaps, func(s *MetaSwap) {
		e.string(s.Key)
		encodeValue(e, s.Old)
		encodeValue(e, s.New)
	})
}

func (c *SwapMeta) decode(d *decoder) {
	c.At = d.base
	c.RequestID = string(d.bytes())
	c.Swaps = decodeSlice(d, func(s *MetaSwap) {
		s.Key = d.string()
		s.Old = decodeValue(d)
		s.New = decodeValue(d)
	})
}

// encodeValue writes a fact's value, which may be empty without being nil.
func encodeValue(e *encoder, value []byte) {
	e.bool(value != nil)
	e.bytes(string(value))
}

func decodeValue(d *decoder) []byte {
	set := d.bool()
	value := d.bytes()
	if !set {
		return nil
	}
	return append([]byte{}, value...)
}
