package scheduler

import (
	"strconv"

	"github.com/a43e60e4/cluster"
)

// property allows so many instances of a group, or of its whole job, on nodes that have the same value of an attribute.
type property struct {
	text      string // the constraint as placement failures show it
	attribute string
	limit     int
	wholeJob  bool
}

// newProperty reads a constraint of the operator distinct_property.
func newProperty(c cluster.Constraint, wholeJob bool) property {
	limit, err := strconv.Atoi(c.RTarget)
	if err != nil || limit < 1 {
		limit = 1
	}
	return property{c.String(), c.LTarget, limit, wholeJob}
}

// quota counts the instances on the nodes of each value of a property.
type quota struct {
	property
	value  []int32   // by node: its value, noValue if it has none
	counts []int     // by value
	nodes  [][]int32 // by value: the nodes that have it
}

func newQuota(r *ranker, of property) *quota {
	q := &quota{property: of, value: make([]int32, len(r.p.nodes))}
	known := map[string]int32{}
	for node := range r.p.nodes {
		text, ok := r.p.nodes[node].Resolve(of.attribute)
		if !ok {
			q.value[node] = noValue
			continue
		}
		id, seen := known[text]
		if !seen {
			id = int32(len(q.counts))
			known[text] = id
			q.counts, q.nodes = append(q.counts, 0), append(q.nodes, nil)
		}
		q.value[node] = id
		q.nodes[id] = append(q.nodes[id], int32(node))
		peers := r.peers
		if of.wholeJob {
			peers = r.jobPeers
		}
		q.counts[id] += int(peers[node])
	}
	return q
}

// full reports whether the node's value has all the instances that it may have.
func (q *quota) full(node int) bool {
	value := q.value[node]
	return value != noValue && q.counts[value] >= q.limit
}

// add counts instances that came to the node or left it, and returns the nodes for which full has changed.
func (q *quota) add(node int, delta int32) []int32 {
	value := q.value[node]
	if value == noValue {
		return nil
	}
	before := q.full(node)
	q.counts[value] += int(delta)
	if q.full(node) == before {
		return nil
	}
	return q.nodes[value]
}
