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
	affinity []float64 // by node: how much it suits; nil without affinities
	quotas   []*quota  // of the properties that only so many may share
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
	if r.f.distinctJob || slices.ContainsFunc(r.f.properties, func(p property) bool { return p.wholeJob }) {
		r.jobPeers = make([]int32, len(p.nodes))
	}
	r.countPeers()
	for _, p := range r.f.properties {
		r.quotas = append(r.quotas, newQuota(r, p))
	}
	suits := newAffinity(j, g)
	if suits != nil {
		r.affinity = make([]float64, len(p.nodes))
	}
	for i := range p.nodes {
		n := p.nodes[i].Node
		r.feasible[i] = n.Ready() && r.f.covers(n) && r.f.rejects(n) == ""
		if suits != nil && r.feasible[i] {
			r.affinity[i] = suits.of(n)
		}
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
		if r.p.live(a) { // also if it is unknown and has a successor: with its node back it may stay
			add(r.p.node(a.NodeID), a.TaskGroup)
		}
	}
	for i := range r.p.plan.Places {
		add(r.p.node(r.p.plan.Places[i].NodeID), r.p.plan.Places[i].TaskGroup)
	}
}

// taken is the constraint for which there are too many other instances on the node, or on those like it; "" if there is none.
func (r *ranker) taken(node int) string {
	if r.f.distinctGroup && r.peers[node] > 0 || r.f.distinctJob && r.jobPeers[node] > 0 {
		return cluster.OperandDistinctHosts
	}
	for _, q := range r.quotas {
		if q.full(node) {
			return q.text
		}
	}
	return ""
}

// rate computes the node's score anew.
func (r *ranker) rate(node int) {
	r.parts[node] = 0
	if !r.feasible[node] || r.taken(node) != "" {
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
	if r.affinity != nil { // 0 counts too: in the mean, little would else be worse than nothing
		sum, parts = sum+r.affinity[node], parts+1
	}
	if peers := r.peers[node]; peers > 0 {
		if sum > 0 { // else the mean would be better with it than without
			parts++
		}
		sum -= float64(peers+1) / r.count
	}
	r.score[node], r.parts[node] = math.Round(sum*grain)/grain, parts
}

// mostParts is how many scorers may say something of a node, but for the spread: packing, other instances, affinity.
const mostParts = 3

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

// final is the mean of the scorers, sum of parts of them, and, if it says anything, of that and the spread's boost: which
// so counts the same for all nodes of a bucket, however many scorers have something to say of each.
func final(sum float64, parts uint8, boost float64) float64 {
	mean := sum / float64(parts)
	if boost == 0 {
		return mean
	}
	return (mean + boost) / 2
}

// changed rates the node anew after its load or its number of instances changed by delta.
func (r *ranker) changed(node int, delta int32) {
	r.peers[node] += delta
	if r.jobPeers != nil {
		r.jobPeers[node] += delta
	}
	for _, q := range r.quotas {
		for _, like := range q.add(node, delta) {
			r.rate(int(like))
			if r.order != nil {
				r.order.changed(r, int(like), true)
			}
		}
	}
	r.rate(node)
	alone := r.spread == nil || r.spread.add(node, int(delta))
	if r.order != nil {
		r.order.changed(r, node, alone)
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

// bucket is the node's bucket of the spread, 0 without one.
func (r *ranker) bucket(node int) int32 {
	if r.spread == nil {
		return 0
	}
	return r.spread.bucket[node]
}
