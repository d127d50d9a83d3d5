package scheduler

// order keeps the nodes of each bucket of the spread, apart by the number of their scorers, in a heap by score: within one
// the order of the final scores does not depend on the boost. Above them a heap of their tops finds the best of all.
// Entries are never changed: what is rated anew gets another, and the old one is dropped when it comes to the top.
type order struct {
	heaps []ratings // mostParts for each bucket
	stamp []uint32  // by node: that of its newest entry
	tops  ratings   // the best of each heap with its final score
	fresh []uint32  // by heap: the stamp of its newest entry in tops
}

func newOrder(r *ranker) *order {
	buckets := 1
	if r.spread != nil {
		buckets = len(r.spread.boost)
	}
	o := &order{heaps: make([]ratings, mostParts*buckets), stamp: make([]uint32, len(r.parts)), fresh: make([]uint32, mostParts*buckets)}
	for node, parts := range r.parts {
		if parts > 0 {
			h := &o.heaps[o.heap(r, node)]
			*h = append(*h, rated{r.score[node], int32(node), 0})
		}
	}
	for _, h := range o.heaps {
		h.order()
	}
	o.compare(r)
	return o
}

// heap is the position of the heap that a fitting node belongs to.
func (o *order) heap(r *ranker, node int) int {
	return mostParts*int(r.bucket(node)) + int(r.parts[node]) - 1
}

// changed makes the node's newest rating count; alone says that the boosts of other buckets have not changed.
func (o *order) changed(r *ranker, node int, alone bool) {
	o.stamp[node]++
	if r.parts[node] > 0 {
		o.heaps[o.heap(r, node)].push(rated{r.score[node], int32(node), o.stamp[node]})
	}
	if !alone {
		o.compare(r)
		return
	}
	// The node may have left one heap of its bucket for another.
	for heap := mostParts * int(r.bucket(node)); heap < mostParts*(int(r.bucket(node))+1); heap++ {
		o.fresh[heap]++
		if top, ok := o.top(r, heap); ok {
			o.tops.push(top)
		}
	}
}

// compare computes the final scores of all tops anew.
func (o *order) compare(r *ranker) {
	o.tops = o.tops[:0]
	for heap := range o.heaps {
		if top, ok := o.top(r, heap); ok {
			o.tops = append(o.tops, top)
		}
	}
	o.tops.order()
}

// top is the best node of a heap with its final score, as an entry of tops.
func (o *order) top(r *ranker, heap int) (rated, bool) {
	h := &o.heaps[heap]
	for len(*h) > 0 && (*h)[0].stamp != o.stamp[(*h)[0].node] {
		h.pop()
	}
	if len(*h) == 0 {
		return rated{}, false
	}
	best := (*h)[0]
	return rated{final(best.score, uint8(heap%mostParts+1), r.boost(int(best.node))), best.node, o.fresh[heap]}, true
}

// best is the node with the highest final score, -1 if none fits.
func (o *order) best(r *ranker) int {
	for len(o.tops) > 0 {
		top := o.tops[0]
		if node := int(top.node); r.parts[node] > 0 && top.stamp == o.fresh[o.heap(r, node)] {
			return node
		}
		o.tops.pop()
	}
	return -1
}

// rated is a node with its score at some time.
type rated struct {
	score float64
	node  int32
	stamp uint32
}

func (a rated) before(b rated) bool {
	return a.score > b.score || a.score == b.score && a.node < b.node
}

// ratings is a heap: the best comes first, of equal ones that of the first node.
type ratings []rated

// order makes a heap of anything.
func (h ratings) order() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.sink(i)
	}
}

func (h *ratings) push(entry rated) {
	all := append(*h, entry)
	for i := len(all) - 1; i > 0 && all[i].before(all[(i-1)/2]); i = (i - 1) / 2 {
		all[i], all[(i-1)/2] = all[(i-1)/2], all[i]
	}
	*h = all
}

// pop drops the best.
func (h *ratings) pop() {
	last := len(*h) - 1
	(*h)[0] = (*h)[last]
	*h = (*h)[:last]
	h.sink(0)
}

// sink moves the entry at i down to where it belongs.
func (h ratings) sink(i int) {
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
