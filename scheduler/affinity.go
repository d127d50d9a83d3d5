package scheduler

import "github.com/a43e60e4/cluster"

// affinity says how much the nodes suit a group: the weights of the affinities that a node meets, as a share of all weights.
type affinity struct {
	wants   []want
	whole   float64            // the sum of all weights, without their signs
	classes map[string]float64 // computed class → what its nodes have in common
}

// want is one affinity.
type want struct {
	weight float64
	unique bool // nodes of one class may differ
	meets  func(*cluster.Node) bool
}

// newAffinity collects the affinities of job, group and tasks; nil if there are none.
func newAffinity(j *cluster.Job, g *cluster.TaskGroup) *affinity {
	a := &affinity{classes: map[string]float64{}}
	add := func(all []cluster.Affinity) {
		for _, one := range all {
			c := cluster.Constraint{LTarget: one.LTarget, RTarget: one.RTarget, Operand: one.Operand}
			a.wants = append(a.wants, want{float64(one.Weight), c.Unique(), c.Matcher()})
			a.whole += max(float64(one.Weight), -float64(one.Weight))
		}
	}
	add(j.Affinities)
	add(g.Affinities)
	for i := range g.Tasks {
		add(g.Tasks[i].Affinities)
	}
	if a.whole == 0 {
		return nil
	}
	return a
}

// of is between -1 and 1; 0 says nothing about the node.
func (a *affinity) of(n *cluster.Node) float64 {
	shared, known := a.classes[n.ComputedClass]
	if !known || n.ComputedClass == "" {
		shared = a.sum(n, false)
		if n.ComputedClass != "" {
			a.classes[n.ComputedClass] = shared
		}
	}
	return (shared + a.sum(n, true)) / a.whole
}

func (a *affinity) sum(n *cluster.Node, unique bool) (total float64) {
	for i := range a.wants {
		if w := &a.wants[i]; w.unique == unique && w.meets(n) {
			total += w.weight
		}
	}
	return total
}
