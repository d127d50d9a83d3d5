package scheduler

import (
	"math"
	"slices"

	"github.com/a43e60e4/cluster"
)

// spreads is how the instances of a group are spread over the values of node attributes. Nodes that have the same
// value of every attribute form a bucket; the boost is one number for each bucket.
type spreads struct {
	axes    []axis
	bucket  []int32   // by node
	members [][]int32 // by bucket: the value on each axis, noValue for nodes without the attribute
	boost   []float64 // by bucket
}

const noValue = -1

// axis is one attribute to spread over.
type axis struct {
	weight  float64   // its share of all weights
	counts  []int     // by value: live instances
	offered []bool    // by value: some feasible node has it
	desired []float64 // by value: how many are wanted, of what is free as many as all of it may have; nil to spread evenly
	free    []bool    // by value: no target names it; nil to spread evenly
	rest    int       // live instances at the free values
	least   int       // the smallest count of an offered value, with targets of a free one
	atLeast int       // how many of these values have it
}

func newSpreads(r *ranker, wanted []cluster.Spread) *spreads {
	s := &spreads{axes: make([]axis, len(wanted)), bucket: make([]int32, len(r.p.nodes))}
	names := make([][]string, len(wanted))
	known := make([]map[string]int32, len(wanted))
	weights := 0
	for i, w := range wanted {
		weights += w.Weight
		known[i] = map[string]int32{}
	}
	buckets := map[string]int32{}
	values := make([]int32, len(wanted))
	var key []byte
	for node := range r.p.nodes {
		key = key[:0]
		for i, w := range wanted {
			values[i] = noValue
			if text, ok := r.p.nodes[node].Resolve(w.Attribute); ok {
				id, seen := known[i][text]
				if !seen {
					id = int32(len(names[i]))
					known[i][text] = id
					names[i] = append(names[i], text)
					s.axes[i].counts = append(s.axes[i].counts, 0)
					s.axes[i].offered = append(s.axes[i].offered, false)
				}
				values[i] = id
				s.axes[i].counts[id] += int(r.peers[node])
				s.axes[i].offered[id] = s.axes[i].offered[id] || r.feasible[node]
			}
			key = append(key, byte(values[i]), byte(values[i]>>8), byte(values[i]>>16), byte(values[i]>>24))
		}
		b, seen := buckets[string(key)]
		if !seen {
			b = int32(len(s.members))
			buckets[string(key)] = b
			s.members = append(s.members, slices.Clone(values))
		}
		s.bucket[node] = b
	}
	for i, w := range wanted {
		s.axes[i].weight = float64(w.Weight) / float64(max(1, weights))
		s.axes[i].desired, s.axes[i].free = shares(w, names[i], r.count)
	}
	s.boost = make([]float64, len(s.members))
	s.compute()
	return s
}

// shares is how many of count instances each value is to have, and which of them no target names: these have together
// what the targets leave. Both are nil without targets.
func shares(w cluster.Spread, values []string, count float64) (desired []float64, free []bool) {
	if len(w.SpreadTarget) == 0 {
		return nil, nil
	}
	rest := 100
	for _, target := range w.SpreadTarget {
		rest -= target.Percent
	}
	desired, free = make([]float64, len(values)), make([]bool, len(values))
	for i, value := range values {
		percent := rest
		free[i] = true
		for _, target := range w.SpreadTarget {
			if target.Value == value {
				percent, free[i] = target.Percent, false
			}
		}
		desired[i] = float64(percent) / 100 * count
	}
	return desired, free
}

// add counts instances that came to the node or left it. It reports whether the boost of no other bucket changed.
func (s *spreads) add(node, delta int) (alone bool) {
	if delta == 0 {
		return true
	}
	bucket := s.bucket[node]
	for i, value := range s.members[bucket] {
		if value != noValue {
			s.axes[i].counts[value] += delta
		}
	}
	if a := &s.axes[0]; len(s.axes) == 1 && a.stays(s.members[bucket][0], delta) {
		s.boost[bucket] = a.boost(s.members[bucket][0])
		return true
	}
	s.compute()
	return false
}

// compute brings every bucket's boost up to date.
func (s *spreads) compute() {
	clear(s.boost)
	for i := range s.axes {
		a := &s.axes[i]
		a.survey()
		for b, values := range s.members {
			s.boost[b] += a.boost(values[i])
		}
	}
}

// survey counts the instances at free values, and finds the smallest number of them that a value has which feasible nodes
// offer, and how many values have it. Without targets all values are free.
func (a *axis) survey() {
	a.least, a.atLeast, a.rest = math.MaxInt, 0, 0
	for value, count := range a.counts {
		if a.named(int32(value)) {
			continue
		}
		a.rest += count
		switch {
		case !a.offered[value]:
		case count < a.least:
			a.least, a.atLeast = count, 1
		case count == a.least:
			a.atLeast++
		}
	}
}

// named reports whether a target names the value.
func (a *axis) named(value int32) bool { return a.free != nil && !a.free[value] }

// stays reports whether the boosts of all other values are the same after the value's count changed by delta.
func (a *axis) stays(value int32, delta int) bool {
	switch {
	case value == noValue || a.named(value):
		return true
	case a.free != nil:
		return false
	case !a.offered[value]:
		return true
	}
	count := a.counts[value]
	if delta == 1 && count == a.least+1 && a.atLeast > 1 {
		a.atLeast--
		return true
	}
	return delta == 1 && count > a.least+1
}

// outweighs is what one instance too many at a value costs: more than packing and crowding together can say.
const outweighs = 3

// boost says how welcome one more instance is at the value. Without targets it is 0 for the values with the fewest
// instances and negative for the others. With targets it falls from 1 to 0 as the share fills and is negative beyond; free
// values have one share, and are a little better the fewer instances they have of it. A node without the attribute is
// then as bad as one instance too many.
func (a *axis) boost(value int32) float64 {
	switch {
	case value == noValue && a.desired == nil:
		return -1
	case value == noValue:
		return -2 * outweighs * a.weight
	case a.desired == nil:
		return -outweighs * float64(a.counts[value]-a.least) * a.weight
	case a.named(value):
		return filling(a.desired[value], a.counts[value]+1) * a.weight
	}
	crowd := float64(max(0, a.counts[value]-a.least))
	return (filling(a.desired[value], a.rest+1) - crowd/(1+crowd)) * a.weight
}

// filling says how welcome the last of so many instances is where so many are desired.
func filling(desired float64, count int) float64 {
	next := float64(count)
	if next > desired {
		return -outweighs * (1 + next - desired)
	}
	return (desired - next) / desired
}
