package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent/gossip/gossiptest"
	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/pki"
)

var (
	fleetSeed  = flag.Uint64("fleet.seed", 0, "live through the time of this seed alone")
	fleetHours = flag.Float64("fleet.hours", 0, "how long each fleet lives")
	fleetLogs  = flag.String("fleet.logs", "", "directory for the logs of fleets that failed")
)

const fleetJobs = 6

// pass lets the time pass and looks around once a second.
func (f *fleet) pass(d time.Duration) {
	for until := time.Now().Add(d); time.Now().Before(until); {
		<-time.After(min(time.Second, time.Until(until)))
		f.look()
	}
}

// upTo is some time up to that long.
func (f *fleet) upTo(d time.Duration) time.Duration {
	return time.Duration(f.dice.Int64N(int64(d)))
}

// look checks what must hold at every moment.
func (f *fleet) look() {
	for _, n := range f.nodes {
		if n.running != nil && n.running.server != nil {
			f.lookAtState(n)
		}
		if n.running != nil {
			f.lookAtNames(n)
		}
	}
}

// lookAtState makes sure that no two servers have different states of one index, and that no node that nothing happened to
// counts as down.
func (f *fleet) lookAtState(n *fleetNode) {
	snapshot := n.running.server.Snapshot()
	index := snapshot.Index()
	if n.seen != index {
		n.seen = index
		var text bytes.Buffer
		if err := snapshot.Persist(&text); err != nil {
			f.t.Fatal(err)
		}
		state := fleetState{n.name, sha256.Sum256(text.Bytes())}
		if other, known := f.states[index]; known && other.sum != state.sum {
			f.broken("state", "%s and %s have different states of index %d", n.name, other.server, index)
		}
		f.states[index] = state
	}
	if !n.quiet(fleetGrace) {
		return
	}
	for _, other := range f.nodes {
		known := snapshot.Node(other.id)
		if known == nil || known.Alive() || !other.quiet(fleetGrace) {
			continue
		}
		f.mu.Lock()
		marked := time.Unix(known.StatusUpdatedAt, 0).Sub(other.calm) > fleetGrace
		f.mu.Unlock()
		if marked || f.whole() { // one that was away comes back only if it reaches the leader
			f.broken("down "+other.name, "%s counts as %s at %s, and nothing has happened to it", other.name, known.Status, n.name)
		}
	}
}

// whole reports whether every line has been there for a while, and a majority of the servers with it.
func (f *fleet) whole() bool {
	servers, quiet := 0, 0
	for _, n := range f.nodes {
		if n.role == pki.RoleServer {
			servers++
			if n.quiet(fleetGrace) {
				quiet++
			}
		}
	}
	return len(f.cut) == 0 && time.Since(f.healed) > fleetGrace && quiet > servers/2
}

// lookAtNames makes sure that no name is empty while the node hears of a machine with an instance.
func (f *fleet) lookAtNames(n *fleetNode) {
	for id := range f.jobs {
		endpoints, _ := n.running.directory.Catalog().Service(cluster.ServiceName{Namespace: cluster.DefaultNamespace, Service: id})
		if len(endpoints) > 0 {
			continue
		}
		for _, other := range f.nodes {
			if other.settled(id) && (other == n || other.quiet(fleetGrace) && n.quiet(fleetGrace)) {
				f.broken("name "+id, "%s is empty at %s, and %s has an instance", id, n.name, other.name)
			}
		}
	}
}

// settled reports whether the machine has had an instance for some seconds that has not been asked to end.
func (n *fleetNode) settled(job string) bool {
	if n.running == nil || n.running.client == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, task := range n.tasks {
		if task.job == job && task.alive() && time.Since(task.born) > 15*time.Second && task.asked.IsZero() {
			return true
		}
	}
	return false
}

// register hands in a job through some node.
func (f *fleet) register(id string) {
	job := (&bubble{dice: f.dice}).wish(id)
	group := &job.TaskGroups[0]
	service := cluster.DefaultService()
	service.Name = id
	group.Services = []cluster.Service{service}
	was := f.jobs[id]
	if was == nil {
		was = &fleetJob{may: []*cluster.Job{nil}}
	}
	most := group.Count
	for _, before := range was.may {
		if before != nil {
			most = max(most, before.TaskGroups[0].Count)
		}
	}
	f.mu.Lock()
	living := 0
	for _, n := range f.nodes {
		living += n.living(id)
	}
	f.limit[id] = max(most, living) + job.Update.MaxParallel
	f.mu.Unlock()
	f.write("register "+id, id, job, func(ctx context.Context, client *api.Client) error {
		_, err := client.RegisterJob(ctx, job, api.RegisterOptions{})
		return err
	})
}

// stop stops a job through some node.
func (f *fleet) stop(id string) {
	purge := f.dice.IntN(2) == 0
	f.write(fmt.Sprintf("stop %s, purge %t", id, purge), id, nil, func(ctx context.Context, client *api.Client) error {
		_, err := client.DeregisterJob(ctx, id, purge, api.Query{})
		return err
	})
}

// write carries out a change and notes what the job may be from then on.
func (f *fleet) write(what, id string, next *cluster.Job, change func(context.Context, *api.Client) error) {
	var via []*fleetNode
	for _, n := range f.nodes {
		if n.client != nil && (f.through == nil || n == f.through) {
			via = append(via, n)
		}
	}
	n := via[f.dice.IntN(len(via))]
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	defer cancel()
	began := time.Now()
	err := change(ctx, n.client)
	f.note("%s through %s in %s: %v", what, n.name, time.Since(began), err)
	job := f.jobs[id]
	if job == nil {
		job = &fleetJob{may: []*cluster.Job{nil}}
		f.jobs[id] = job
	}
	if err == nil {
		job.may = nil
	} else if n.quiet(fleetGrace) && f.whole() {
		f.broken("write "+n.name, "%s through %s, to which nothing has happened: %v", what, n.name, err)
	}
	job.may = append(job.may, next)
}

// unsettled says what is not yet as it should be, "" if everything is.
func (f *fleet) unsettled() string {
	var index uint64
	for _, n := range f.nodes {
		if n.running.server == nil {
			continue
		}
		now := n.running.server.Snapshot().Index()
		if index != 0 && now != index {
			return fmt.Sprintf("%s is at index %d, another at %d", n.name, now, index)
		}
		index = now
	}
	snapshot := f.nodes[0].running.server.Snapshot()
	for _, n := range f.nodes {
		if node := snapshot.Node(n.id); n.works && (node == nil || node.Status != cluster.NodeStatusReady) {
			return fmt.Sprintf("%s is not ready", n.name)
		}
	}
	for eval := range snapshot.Evals() {
		if !eval.Done() {
			return fmt.Sprintf("evaluation %s of %s is %s", eval.ID, eval.JobID, eval.Status)
		}
	}
	for id, job := range f.jobs {
		now := snapshot.Job(cluster.DefaultNamespace, id)
		if !slices.ContainsFunc(job.may, func(may *cluster.Job) bool { return same(may, now) }) {
			return id + " is no version that it may be"
		}
		if fault := f.unmet(id, now); fault != "" {
			return fault
		}
	}
	return ""
}

// same reports whether the job is what was wished.
func same(wish, now *cluster.Job) bool {
	if wish == nil || now == nil || now.Stop {
		return wish == nil && (now == nil || now.Stop)
	}
	a, b := wish.TaskGroups[0], now.TaskGroups[0]
	return a.Count == b.Count && a.Tasks[0].Config["command"] == b.Tasks[0].Config["command"]
}

// unmet says how the job is not as it should be.
func (f *fleet) unmet(id string, job *cluster.Job) string {
	want, living := 0, 0
	if job != nil && !job.Stop {
		want = job.TaskGroups[0].Count
	}
	for _, n := range f.nodes {
		living += n.living(id)
	}
	if living != want {
		return fmt.Sprintf("%d instances of %s live, wanted are %d", living, id, want)
	}
	running := 0
	for alloc := range f.nodes[0].running.server.Snapshot().AllocsByJob(cluster.DefaultNamespace, id) {
		if alloc.ClientStatus == cluster.ClientRunning {
			running++
		}
	}
	if running != want {
		return fmt.Sprintf("%d allocations of %s are said to run, wanted are %d", running, id, want)
	}
	for _, n := range f.nodes {
		endpoints, _ := n.running.directory.Catalog().Service(cluster.ServiceName{Namespace: cluster.DefaultNamespace, Service: id})
		if len(endpoints) != want {
			return fmt.Sprintf("%s has %d endpoints of %s, wanted are %d", n.name, len(endpoints), id, want)
		}
	}
	return ""
}

// settle ends all that is wrong and waits until everything is as it should be.
func (f *fleet) settle() {
	f.network.lose(0)
	f.network.slow(0)
	f.heal()
	var back []*fleetNode
	for _, n := range f.nodes {
		if n.running == nil {
			n.comeBack()
		}
		if !n.quiet(0) {
			back = append(back, n)
		}
	}
	f.disturb(false, back...)
	f.note("all is well again")
	began, last := time.Now(), ""
	for time.Since(began) < 15*time.Minute {
		f.pass(time.Second)
		if last = f.unsettled(); last == "" {
			f.slowest = max(f.slowest, time.Since(began))
			f.note("all is settled after %s", time.Since(began))
			return
		}
	}
	f.broken("settle", "a quarter of an hour after the last fault %s", last)
}

// close ends everything.
func (f *fleet) close() {
	for _, n := range f.nodes {
		if n.end != nil {
			n.end()
		}
		for _, task := range n.tasks {
			n.endTask(task, driver.Exit{})
		}
		if errors := strings.Count(n.log.String(), "level=ERROR"); errors > 0 {
			f.broken("log "+n.name, "%s logged %d errors", n.name, errors)
		}
	}
	<-time.After(20 * time.Second) // memberlist's probes end
}

// live is one fleet's life with a story; without, it is a random one.
func live(t *testing.T, seed uint64, servers, clients int, story func(f *fleet)) {
	path := t.TempDir()
	var f *fleet
	defer func() {
		if f == nil {
			return
		}
		if t.Failed() {
			t.Logf("again with -fleet.seed=%d", seed)
		}
		if *fleetLogs != "" {
			for _, n := range f.nodes {
				if err := os.WriteFile(filepath.Join(*fleetLogs, fmt.Sprintf("%d-%s.log", seed, n.name)), []byte(n.log.String()), 0o600); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	gossiptest.Bubble(t, func(t *testing.T) {
		f = newFleet(t, seed, path, servers, clients)
		story(f)
		f.settle()
		f.close()
	})
}

// TestThreeMachinesAndOneCut cuts each of three machines off for a while, one after the other.
func TestThreeMachinesAndOneCut(t *testing.T) {
	live(t, 1, 3, 0, func(f *fleet) {
		f.pass(30 * time.Second)
		for n := range fleetJobs {
			f.register(fmt.Sprintf("job-%d", n))
		}
		for _, n := range f.nodes {
			f.pass(time.Minute)
			f.note("cut %s off", n.name)
			f.disturb(true, n)
			for _, other := range f.nodes {
				if other != n {
					f.sever(fleetLine{n.host, other.host}, fleetLine{other.host, n.host})
				}
			}
			f.pass(time.Minute)
			f.heal()
			f.note("healed")
			f.disturb(false, n)
		}
	})
}
