package scheduler

import (
	"math"
	"slices"

	"github.com/a43e60e4/cluster"
)

// heapFrom is the number of placements from which on ordering all nodes once is cheaper than looking at all each time.
const heapFrom = 20

// ranker finds the best node for each of many equal placements: instances of one group of one version of a job.
// A placement changes the score of its own node and the boosts of spreads, which all nodes of one bucket share;
// nothing else is computed again.
type ranker struct {
	p     *planner
	group *cluster.TaskGroup
	f     *filter
	ports portAsk
	need  cluster.Capacity
	count float64 // how many instances are wanted in all

	feasible []bool    // by node: ready and passing the filter
	score    []float64 // by node: the sum of the scorers but for the spread
	parts    []uint8   // by node: how many scorers that is; 0: the placement does not fit
	peers    []int32   // by node: live instances of the group
	jobPeers []int32   // by node: of the whole job; nil unless they must be apart
	spread   *spreads  // nil without spreads
	order    *order    // nil while nodes are scanned
}

func newRanker(p *planner, j *cluster.Job, g *cluster.TaskGroup, placements int) *ranker {
	r := &ranker{
		p:        p,
		group:    g,
		f:        p.filter(j, g),
		ports:    newPortAsk(g),
		need:     g.Resources(),
		count:    float64(max(1, g.Count)),
		feasible: make([]bool, len(p.nodes)),
		score:    make([]float64, len(p.nodes)),
		parts:    make([]uint8, len(p.nodes)),
		peers:    make([]int32, len(p.nodes)),
	}
	if r.f.distinctJob {
		r.jobPeers = make([]int32, len(p.nodes))
	}
	r.countPeers()
	for i := range p.nodes {
		n := p.nodes[i].Node
		r.feasible[i] = n.Ready() && r.f.covers(n) && r.f.rejects(n) == ""
		r.rate(i)
	}
	if axes := append(slices.Clone(g.Spreads), j.Spreads...); len(axes) > 0 {
		r.spread = newSpreads(r, axes)
	}
	if placements >= heapFrom {
		r.order = newOrder(r)
	}
	return r
}

func (r *ranker) countPeers() {
	add := func(node int, group string) {
		if node < 0 {
			return
		}
		if group == r.group.Name {
			r.peers[node]++
		}
		if r.jobPeers != nil {
			r.jobPeers[node]++
		}
	}
	for _, a := range r.p.in.Allocs {
		if r.p.live(a) {
			add(r.p.node(a.NodeID), a.TaskGroup)
		}
	}
	for i := range r.p.plan.Places {
		add(r.p.node(r.p.plan.Places[i].NodeID), r.p.plan.Places[i].TaskGroup)
	}
}

// taken reports whether an instance that must be apart from this one is on the node.
func (r *ranker) taken(node int) bool {
	return r.f.distinctGroup && r.peers[node] > 0 || r.jobPeers != nil && r.jobPeers[node] > 0
}

// rate computes the node's score anew.
func (r *ranker) rate(node int) {
	r.parts[node] = 0
	if !r.feasible[node] || r.taken(node) {
		return
	}
	n := &r.p.nodes[node]
	total := n.Schedulable()
	rest := total.Minus(n.Used)
	if rest.Lacking(r.need) != "" || !r.ports.lacks(n).none() {
		return
	}
	rest = rest.Minus(r.need)
	sum, parts := packing(rest, total), uint8(1)
	if peers := r.peers[node]; peers > 0 {
		sum, parts = sum-float64(peers+1)/r.count, 2
	}
	r.score[node], r.parts[node] = math.Round(sum*grain)/grain, parts
}

// grain is how many different scores there are between 0 and 1. What differs by less, as sums in another order do, is equal.
const grain = 1 << 30

// packing is how well a node is filled when the rest of its total stays free: 1 when it is full, 0 when it is empty.
func packing(rest, total cluster.Capacity) float64 {
	fit := 20 - (powerOfTen(share(rest.CPU, total.CPU)) + powerOfTen(share(rest.MemoryMB, total.MemoryMB)))
	return max(0, min(18, fit)) / 18
}

func share(part, whole int) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// powers holds 10^x for x from 0 to 1 in equal steps.
var powers = func() (table [1026]float64) {
	for i := range table {
		table[i] = math.Pow(10, float64(i)/1024)
	}
	return table
}()

// powerOfTen is 10^x for x in [0, 1], exact to six digits and much faster than math.Pow.
func powerOfTen(x float64) float64 {
	x = max(0, min(1, x)) * 1024
	i := int(x)
	return powers[i] + (x-float64(i))*(powers[i+1]-powers[i])
}

// final is the mean of the scorers: sum of parts of them, and the spread's boost if it says anything.
func final(sum float64, parts uint8, boost float64) float64 {
	if boost == 0 {
		return sum / float64(parts)
	}
	return (sum + boost) / float64(parts+1)
}

// changed rates the node anew after its load or its number of instances changed by delta.
func (r *ranker) changed(node int, delta int32) {
	r.peers[node] += delta
	if r.jobPeers != nil {
		r.jobPeers[node] += delta
	}
	r.rate(node)
	if r.spread != nil {
		r.spread.add(node, int(delta))
	}
	if r.order != nil {
		r.order.push(r, node)
	}
}

// best is the node to place the next instance on, -1 if it fits nowhere. Nodes to avoid are penalised, not excluded.
// Of equal ones it is the first.
func (r *ranker) best(avoid []int) int {
	if r.order != nil && len(avoid) == 0 {
		return r.order.best(r)
	}
	best, at := math.Inf(-1), -1
	for node, parts := range r.parts {
		if parts == 0 {
			continue
		}
		sum := r.score[node]
		if len(avoid) > 0 && slices.Contains(avoid, node) {
			sum, parts = sum-1, parts+1
		}
		if score := final(sum, parts, r.boost(node)); score > best {
			best, at = score, node
		}
	}
	return at
}

func (r *ranker) boost(node int) float64 {
	if r.spread == nil {
		return 0
	}
	return r.spread.boost[r.spread.bucket[node]]
}

// order keeps the nodes of each bucket of the spread, apart by the number of their scorers, in a heap by score.
// Within one heap the order of the final scores does not depend on the boost. Entries are never changed: a node
// that is rated anew gets another, and the old one is dropped when it comes to the top.
type order struct {
	heaps [][]rated
	stamp []uint32 // by node: that of its newest entry
}

type rated struct {
	score float64
	node  int32
	stamp uint32
}

func (a rated) before(b rated) bool {
	return a.score > b.score || a.score == b.score && a.node < b.node
}

func newOrder(r *ranker) *order {
	buckets := 1
	if r.spread != nil {
		buckets = len(r.spread.boost)
	}
	o := &order{heaps: make([][]rated, 2*buckets), stamp: make([]uint32, len(r.parts))}
	for node, parts := range r.parts {
		if parts > 0 {
			h := o.heap(r, node)
			*h = append(*h, rated{r.score[node], int32(node), 0})
		}
	}
	for _, h := range o.heaps {
		for i := len(h)/2 - 1; i >= 0; i-- {
			sink(h, i)
		}
	}
	return o
}

func (o *order) heap(r *ranker, node int) *[]rated {
	bucket := int32(0)
	if r.spread != nil {
		bucket = r.spread.bucket[node]
	}
	return &o.heaps[2*int(bucket)+int(r.parts[node])-1]
}

// push makes the node's newest rating count.
func (o *order) push(r *ranker, node int) {
	o.stamp[node]++
	if r.parts[node] == 0 {
		return
	}
	h := o.heap(r, node)
	*h = append(*h, rated{r.score[node], int32(node), o.stamp[node]})
	for i := len(*h) - 1; i > 0 && (*h)[i].before((*h)[(i-1)/2]); i = (i - 1) / 2 {
		(*h)[i], (*h)[(i-1)/2] = (*h)[(i-1)/2], (*h)[i]
	}
}

func (o *order) best(r *ranker) int {
	best, at := math.Inf(-1), int32(-1)
	for i := range o.heaps {
		top, ok := o.top(i)
		if !ok {
			continue
		}
		boost := 0.0
		if r.spread != nil {
			boost = r.spread.boost[i/2]
		}
		score := final(top.score, uint8(i%2+1), boost)
		if score > best || score == best && top.node < at {
			best, at = score, top.node
		}
	}
	return int(at)
}

// top is the best entry of a heap after those that no longer count are dropped.
func (o *order) top(i int) (rated, bool) {
	h := o.heaps[i]
	for len(h) > 0 && h[0].stamp != o.stamp[h[0].node] {
		last := len(h) - 1
		h[0] = h[last]
		h = h[:last]
		sink(h, 0)
	}
	o.heaps[i] = h
	if len(h) == 0 {
		return rated{}, false
	}
	return h[0], true
}

// sink restores the heap below position i.
func sink(h []rated, i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1].before(h[child]) {
			child++
		}
		if !h[child].before(h[i]) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}
