package state

import "math/bits"

// slots is the set of slots in use. Which slot is handed out next depends on the set alone, not on how it came
// about, so that a restored store goes on like the one that was saved. The zero value is empty.
type slots struct {
	words []uint64 // bit i: slot i is in use
	low   int      // all words below are full
	n     int
}

// next is the lowest slot that is not in use; it does not take it.
func (s *slots) next() uint32 {
	for s.low < len(s.words) && s.words[s.low] == ^uint64(0) {
		s.low++
	}
	if s.low == len(s.words) {
		return uint32(s.low) << 6
	}
	return uint32(s.low)<<6 | uint32(bits.TrailingZeros64(^s.words[s.low]))
}

// take marks a slot that is not in use.
func (s *slots) take(slot uint32) {
	for int(slot>>6) >= len(s.words) {
		s.words = append(s.words, 0)
	}
	s.words[slot>>6] |= 1 << (slot & 63)
	s.n++
}

// free unmarks a slot that is in use.
func (s *slots) free(slot uint32) {
	s.words[slot>>6] &^= 1 << (slot & 63)
	s.low = min(s.low, int(slot>>6))
	s.n--
}
