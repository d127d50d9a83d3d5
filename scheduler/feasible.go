package scheduler

import (
	"path"
	"slices"
	"strconv"

	"github.com/a43e60e4/cluster"
)

// filter says which nodes may run a group of one version of a job, whatever else runs there.
type filter struct {
	job     *cluster.Job
	drivers []string
	shared  []test // every node of a class answers them alike
	unique  []test
	classes map[string]string // computed class → the first shared test it fails, "" if it passes all
	centers map[string]bool   // datacenter → wanted
	// the newest answers, since neighbours are often alike
	lastClass, lastReason, lastCenter string
	lastWanted                        bool

	distinctJob, distinctGroup bool // no two allocations of the job, or group, on one node
	properties                 []property
}

type test struct {
	text   string
	passes func(*cluster.Node) bool
}

func newFilter(j *cluster.Job, g *cluster.TaskGroup) *filter {
	f := &filter{job: j, classes: map[string]string{}, centers: map[string]bool{}}
	f.add(j.Constraints, &f.distinctJob, true)
	f.add(g.Constraints, &f.distinctGroup, false)
	for i := range g.Tasks {
		f.add(g.Tasks[i].Constraints, &f.distinctGroup, false)
		if driver := g.Tasks[i].Driver; !slices.Contains(f.drivers, driver) {
			f.drivers = append(f.drivers, driver)
		}
	}
	return f
}

func (f *filter) add(constraints []cluster.Constraint, distinct *bool, wholeJob bool) {
	for _, c := range constraints {
		switch {
		case c.Operand == cluster.OperandDistinctHosts:
			wanted, err := strconv.ParseBool(c.RTarget)
			*distinct = *distinct || wanted || err != nil
		case c.Operand == cluster.OperandDistinctProperty:
			f.properties = append(f.properties, newProperty(c, wholeJob))
			f.match(c)
		default:
			f.match(c)
		}
	}
}

func (f *filter) match(c cluster.Constraint) {
	if t := (test{c.String(), c.Matcher()}); c.Unique() {
		f.unique = append(f.unique, t)
	} else {
		f.shared = append(f.shared, t)
	}
}

// covers reports whether the job looks for nodes where this one is: in its datacenters and its pool.
func (f *filter) covers(n *cluster.Node) bool {
	return (f.job.NodePool == cluster.AllNodePool || n.NodePool == f.job.NodePool) && f.wantsCenter(n.Datacenter)
}

func (f *filter) wantsCenter(dc string) bool {
	if dc == f.lastCenter && len(f.centers) > 0 {
		return f.lastWanted
	}
	wanted, known := f.centers[dc]
	if !known {
		wanted = slices.ContainsFunc(f.job.Datacenters, func(pattern string) bool {
			match, err := path.Match(pattern, dc)
			return match && err == nil || pattern == dc
		})
		f.centers[dc] = wanted
	}
	f.lastCenter, f.lastWanted = dc, wanted
	return wanted
}

// rejects is what the node lacks: the first constraint that it does not meet, its impediment or "missing drivers"; "" if
// nothing.
func (f *filter) rejects(n *cluster.Node) string {
	if reason := f.lacks(n); reason != "" {
		return reason
	}
	if n.Impediment != "" {
		return n.Impediment
	}
	for _, driver := range f.drivers {
		if state := n.Drivers[driver]; !state.Detected || !state.Healthy {
			return "missing drivers"
		}
	}
	return ""
}

// lacks is rejects without impediment and drivers, which come and go: it decides whether what runs may stay.
func (f *filter) lacks(n *cluster.Node) string {
	if reason := f.classLacks(n); reason != "" {
		return reason
	}
	return firstFailed(f.unique, n)
}

func (f *filter) classLacks(n *cluster.Node) string {
	if len(f.shared) == 0 {
		return ""
	}
	if n.ComputedClass == "" {
		return firstFailed(f.shared, n)
	}
	if n.ComputedClass == f.lastClass {
		return f.lastReason
	}
	reason, known := f.classes[n.ComputedClass]
	if !known {
		reason = firstFailed(f.shared, n)
		f.classes[n.ComputedClass] = reason
	}
	f.lastClass, f.lastReason = n.ComputedClass, reason
	return reason
}

func firstFailed(tests []test, n *cluster.Node) string {
	for i := range tests {
		if !tests[i].passes(n) {
			return tests[i].text
		}
	}
	return ""
}
