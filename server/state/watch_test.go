package state

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/a43e60e4/cluster"
)

// waits starts a wait for the key's next change, and tells whether it has returned.
func (s *store) waits(ctx context.Context, keys ...Key) func() bool {
	var index uint64
	for _, key := range keys {
		index = max(index, s.Snapshot().KeyIndex(key))
	}
	done := make(chan struct{})
	go func() {
		if _, err := s.Wait(ctx, index, keys...); err == nil {
			close(done)
		}
	}()
	synctest.Wait()
	return func() bool {
		synctest.Wait()
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

// wakings says for each key which changes wake those who wait for it.
var wakings = []struct {
	name   string
	key    func(ids []cluster.ID) Key
	change func(s *store, ids []cluster.ID)
	wakes  bool
}{
	{"node's allocations, placed", func([]cluster.ID) Key { return NodeAllocsKey(id(1)) }, func(s *store, _ []cluster.ID) { s.place("web", 1) }, true},
	{"node's allocations, other node", func([]cluster.ID) Key { return NodeAllocsKey(id(1)) }, func(s *store, _ []cluster.ID) { s.place("web", 2) }, false},
	{"node's allocations, own report", func([]cluster.ID) Key { return NodeAllocsKey(id(1)) },
		func(s *store, ids []cluster.ID) {
			s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientFailed, Passing: 1})
		}, false},
	{"node's allocations, stop", func([]cluster.ID) Key { return NodeAllocsKey(id(1)) },
		func(s *store, ids []cluster.ID) {
			s.do(&StopAllocs{Stops: []cluster.Stop{{ID: ids[0]}}})
		}, true},
	{"node's allocations, node's status", func([]cluster.ID) Key { return NodeAllocsKey(id(1)) },
		func(s *store, _ []cluster.ID) { s.do(&NodeStatus{ID: id(1), Status: cluster.NodeStatusDown}) }, false},
	{"unknown node's allocations, registered", func([]cluster.ID) Key { return NodeAllocsKey(id(3)) },
		func(s *store, _ []cluster.ID) { s.do(&RegisterNode{Node: testNode(3)}) }, true},
	{"room, an allocation runs", func([]cluster.ID) Key { return TableKey(Room) },
		func(s *store, ids []cluster.ID) {
			s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning})
		}, false},
	{"room, an allocation is to stop", func([]cluster.ID) Key { return TableKey(Room) },
		func(s *store, ids []cluster.ID) { s.do(&StopAllocs{Stops: []cluster.Stop{{ID: ids[0]}}}) }, false},
	{"room, an allocation has ended", func([]cluster.ID) Key { return TableKey(Room) },
		func(s *store, ids []cluster.ID) {
			s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientComplete})
		}, true},
	{"room, an allocation is lost", func([]cluster.ID) Key { return TableKey(Room) },
		func(s *store, ids []cluster.ID) {
			s.do(&StopAllocs{Stops: []cluster.Stop{{ID: ids[0], Lost: true}}})
		}, true},
	{"room, an allocation is placed", func([]cluster.ID) Key { return TableKey(Room) }, func(s *store, _ []cluster.ID) { s.place("web", 1) }, false},
	{"node", func([]cluster.ID) Key { return NodeKey(id(1)) },
		func(s *store, _ []cluster.ID) { s.do(&NodeStatus{ID: id(1), Status: cluster.NodeStatusDown}) }, true},
	{"node, its allocations", func([]cluster.ID) Key { return NodeKey(id(1)) }, func(s *store, _ []cluster.ID) { s.place("web", 1) }, false},
	{"allocation", func(ids []cluster.ID) Key { return AllocKey(ids[0]) },
		func(s *store, ids []cluster.ID) {
			s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning})
		}, true},
	{"allocation, another", func(ids []cluster.ID) Key { return AllocKey(ids[0]) },
		func(s *store, ids []cluster.ID) {
			s.report(cluster.AllocUpdate{ID: ids[1], ClientStatus: cluster.ClientRunning})
		}, false},
	{"job", func([]cluster.ID) Key { return JobKey("default", "web") },
		func(s *store, _ []cluster.ID) { s.do(&DeregisterJob{Namespace: "default", ID: "web"}) }, true},
	{"job, purged", func([]cluster.ID) Key { return JobKey("default", "web") },
		func(s *store, _ []cluster.ID) { s.do(&DeregisterJob{Namespace: "default", ID: "web", Purge: true}) }, true},
	{"job, its status", func([]cluster.ID) Key { return JobKey("default", "web") }, func(s *store, ids []cluster.ID) {
		s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientFailed}, cluster.AllocUpdate{ID: ids[1], ClientStatus: cluster.ClientFailed})
	}, true},
	{"job, its evaluations", func([]cluster.ID) Key { return JobKey("default", "web") },
		func(s *store, _ []cluster.ID) {
			s.do(&UpsertEvals{Evals: []cluster.Evaluation{*testEval(900, testJob("web"))}})
		}, false},
	{"unknown job", func([]cluster.ID) Key { return JobKey("default", "api") },
		func(s *store, _ []cluster.ID) { s.register(testJob("api")) }, true},
	{"job's evaluations", func([]cluster.ID) Key { return JobEvalsKey("default", "web") },
		func(s *store, _ []cluster.ID) {
			s.do(&UpsertEvals{Evals: []cluster.Evaluation{*testEval(900, testJob("web"))}})
		}, true},
	{"unknown job's evaluations", func([]cluster.ID) Key { return JobEvalsKey("default", "api") },
		func(s *store, _ []cluster.ID) {
			s.do(&UpsertEvals{Evals: []cluster.Evaluation{*testEval(900, testJob("api"))}})
		}, true},
	{"evaluation", func([]cluster.ID) Key { return EvalKey(id(900)) },
		func(s *store, _ []cluster.ID) {
			s.do(&UpsertEvals{Evals: []cluster.Evaluation{*testEval(900, testJob("web"))}})
		}, true},
	{"job's allocations", func([]cluster.ID) Key { return JobAllocsKey("default", "web") },
		func(s *store, ids []cluster.ID) {
			s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning})
		}, true},
	{"job's deployments", func([]cluster.ID) Key { return JobDeploymentsKey("default", "web") }, func(s *store, _ []cluster.ID) {
		s.do(&UpsertDeployments{Deployments: []cluster.Deployment{{ID: id(50), Namespace: "default", JobID: "web"}}})
	}, true},
	{"deployment", func([]cluster.ID) Key { return DeploymentKey(id(50)) }, func(s *store, _ []cluster.ID) {
		s.do(&UpsertDeployments{Deployments: []cluster.Deployment{{ID: id(50), Namespace: "default", JobID: "web"}}})
	}, true},
	{"service", func([]cluster.ID) Key { return ServiceKey("default", "site") },
		func(s *store, ids []cluster.ID) {
			s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning, Passing: 1})
		}, true},
	{"service, nothing passes", func([]cluster.ID) Key { return ServiceKey("default", "site") },
		func(s *store, ids []cluster.ID) {
			s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning})
		}, false},
	{"namespace", func([]cluster.ID) Key { return NamespaceKey("prod") },
		func(s *store, _ []cluster.ID) { s.do(&UpsertNamespace{Namespace: &cluster.Namespace{Name: "prod"}}) }, true},
	{"meta", func([]cluster.ID) Key { return MetaKey("config") },
		func(s *store, _ []cluster.ID) { s.do(&SetMeta{Key: "config", Value: []byte{1}}) }, true},
	{"table", func([]cluster.ID) Key { return TableKey(Nodes) },
		func(s *store, _ []cluster.ID) { s.do(&RegisterNode{Node: testNode(9)}) }, true},
	{"other table", func([]cluster.ID) Key { return TableKey(Nodes) }, func(s *store, _ []cluster.ID) { s.register(testJob("api")) }, false},
}

func TestWaitersWakeForTheirKeyAlone(t *testing.T) {
	for _, c := range wakings {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s, ids := running(t)
				woken := s.waits(ctx, c.key(ids))
				c.change(s, ids)
				if woken() != c.wakes {
					t.Fatalf("woken: %v, want %v", !c.wakes, c.wakes)
				}
			})
		})
	}
}

func TestAWaitReturnsAtOnceWhenTheChangeIsPast(t *testing.T) {
	s, _ := running(t)
	if sn, err := s.Wait(t.Context(), s.index-1, TableKey(Allocs), TableKey(Meta)); err != nil || sn.Index() != s.index {
		t.Fatal(sn.Index(), err)
	}
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	s, _ := running(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if sn, err := s.Wait(ctx, s.index, TableKey(Allocs)); !errors.Is(err, why) || sn.Index() != s.index {
		t.Fatal(sn, err)
	}
	if s.waiting() != 0 || len(s.watch.waiters) != 0 {
		t.Fatal("the wait is still known")
	}
}

func TestARestoreWakesEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := running(t)
		saved := save(t, s.Store)
		first := s.waits(t.Context(), AllocKey(ids[0]), MetaKey("none"))
		second := s.waits(t.Context(), TableKey(Meta))
		if err := s.Restore(saved); err != nil {
			t.Fatal(err)
		}
		if !first() || !second() {
			t.Fatal("somebody sleeps on")
		}
	})
}
