package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/a43e60e4/cluster/server/pki"
)

// fate does one thing of many to the fleet. One cut is there at a time, and no more machines are away than leave the servers
// a majority, except where the cut itself takes it.
func (f *fleet) fate() {
	id := fmt.Sprintf("job-%d", f.dice.IntN(fleetJobs))
	n := f.nodes[f.dice.IntN(len(f.nodes))]
	switch what := f.dice.IntN(20); {
	case what < 5:
		f.register(id)
	case what < 6:
		if f.jobs[id] != nil {
			f.stop(id)
		}
	case what < 8:
		n.memoryMachine.crash(f.dice)
	case what < 12:
		f.healAll()
		f.cutSome()
	case what < 13:
		f.healAll()
	case what < 14:
		f.weather()
	case what < 16 && f.maySpare(n):
		machine := f.dice.IntN(2) == 0
		f.note("crash %s, its machine %t", n.name, machine)
		n.crash(machine)
	case what < 18 && n.running != nil:
		f.restart(n)
	default:
		f.returnAll()
	}
}

// healAll ends the cut that there is.
func (f *fleet) healAll() {
	if len(f.cut) == 0 {
		return
	}
	f.note("healed")
	f.heal()
	for _, n := range f.nodes {
		if n.apart {
			n.apart = false
			if n.running != nil {
				f.disturb(false, n)
			}
		}
	}
}

// setApart says that the cut takes these machines from the others.
func (f *fleet) setApart(nodes ...*fleetNode) {
	f.disturb(true, nodes...)
	for _, n := range nodes {
		n.apart = true
	}
}

// cutSome cuts lines: of one machine or of a group, both ways or one, or a single line between two.
func (f *fleet) cutSome() {
	order := f.dice.Perm(len(f.nodes))
	how := f.dice.IntN(4)
	if how == 3 {
		a, b := f.nodes[order[0]], f.nodes[order[1]]
		f.note("cut the line from %s to %s", a.name, b.name)
		f.sever(fleetLine{a.host, b.host})
		if f.dice.IntN(2) == 0 {
			f.sever(fleetLine{b.host, a.host})
			f.note("and back")
		}
		f.setApart(a, b) // with a third node gone nobody vouches for either
		return
	}
	size := 1
	if f.dice.IntN(2) == 0 {
		size += f.dice.IntN(len(f.nodes) - 1)
	}
	var group, rest []*fleetNode
	for i, at := range order {
		if i < size {
			group = append(group, f.nodes[at])
		} else {
			rest = append(rest, f.nodes[at])
		}
	}
	f.note("cut %s off from the others, how %d", names(group), how)
	if f.canElect(rest) {
		f.setApart(group...)
	} else {
		f.setApart(f.nodes...)
	}
	for _, a := range group {
		for _, b := range rest {
			if how != 1 {
				f.sever(fleetLine{a.host, b.host})
			}
			if how != 2 {
				f.sever(fleetLine{b.host, a.host})
			}
		}
	}
}

func names(nodes []*fleetNode) (all []string) {
	for _, n := range nodes {
		all = append(all, n.name)
	}
	return all
}

// canElect reports whether the running ones among the machines hold a majority of the servers.
func (f *fleet) canElect(nodes []*fleetNode) bool {
	servers, living := 0, 0
	for _, n := range f.nodes {
		if n.role == pki.RoleServer {
			servers++
		}
	}
	for _, n := range nodes {
		if n.role == pki.RoleServer && n.running != nil {
			living++
		}
	}
	return living > servers/2
}

// maySpare reports whether the machine may go.
func (f *fleet) maySpare(n *fleetNode) bool {
	var others []*fleetNode
	away := 0
	for _, other := range f.nodes {
		if other != n && other.running != nil {
			others = append(others, other)
		}
		if other.running == nil {
			away++
		}
	}
	return n.running != nil && away < len(f.nodes)/3 && f.canElect(others)
}

// restart ends the agent politely and starts it again.
func (f *fleet) restart(n *fleetNode) {
	f.note("restart %s", n.name)
	f.disturb(true, n)
	n.end()
	f.pass(f.upTo(20 * time.Second))
	n.start()
	if !n.apart {
		f.disturb(false, n)
	}
}

// returnAll starts what does not run.
func (f *fleet) returnAll() {
	for _, n := range f.nodes {
		if n.running == nil {
			f.note("%s comes back", n.name)
			n.comeBack()
			if n.apart {
				f.disturb(true, n)
			}
		}
	}
}

// weather makes the network good, slow or lossy.
func (f *fleet) weather() {
	loss, delay := 0.0, time.Duration(0)
	switch f.dice.IntN(4) {
	case 1:
		loss = f.dice.Float64() * 0.1
	case 2:
		delay = f.upTo(50 * time.Millisecond)
	case 3:
		loss, delay = f.dice.Float64()*0.05, f.upTo(20*time.Millisecond)
	}
	f.note("of all packets %.3f are lost, and they take %s", loss, delay)
	f.network.lose(loss)
	f.network.slow(delay)
}

// endure lets fate have its way for a while.
func endure(long time.Duration) func(*fleet) {
	return func(f *fleet) {
		f.pass(30 * time.Second)
		for began := time.Now(); time.Since(began) < long; f.pass(f.upTo(40 * time.Second)) {
			f.fate()
		}
	}
}

// fleetSize is how many machines a fleet has, and how long it lives in every run.
type fleetSize struct {
	servers, clients int
	long             time.Duration
}

var (
	smallFleet = fleetSize{3, 1, 15 * time.Minute}
	largeFleet = fleetSize{5, 10, 5 * time.Minute}
)

// fatedFleets are those that once failed, and why. Goroutines take turns as they like: a seed gives the same faults at the
// same times, and almost the same life.
var fatedFleets = []struct {
	seed uint64
	fleetSize
	why string
}{
	{2, smallFleet, "heartbeats waited with a lock for a confirmation of leadership; Raft's connections outlived it"},
	{10, largeFleet, "in an hour (-fleet.hours=1), before a decision against a node bore what it had seen"},
}

// TestFleetsEndure lives through random cuts, crashes, restarts, losses and changes; other lives begin with -fleet.seed.
func TestFleetsEndure(t *testing.T) {
	fleets := append(fatedFleets, fatedFleets[:0:0]...)
	for _, size := range []fleetSize{smallFleet, largeFleet} {
		fleets = append(fleets, fatedFleets[0])
		last := &fleets[len(fleets)-1]
		last.seed, last.fleetSize = 7, size
	}
	if *fleetSeed != 0 {
		fleets = fleets[len(fleets)-2:]
	}
	for _, fleet := range fleets {
		seed, long := fleet.seed, fleet.long
		if *fleetSeed != 0 {
			seed = *fleetSeed
		}
		if *fleetHours != 0 {
			long = time.Duration(*fleetHours * float64(time.Hour))
		}
		t.Run(fmt.Sprintf("%d servers and %d clients, seed %d", fleet.servers, fleet.clients, seed), func(t *testing.T) {
			live(t, seed, fleet.servers, fleet.clients, endure(long))
		})
	}
}
