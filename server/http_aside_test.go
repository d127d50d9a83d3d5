package server

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/pki"
)

// lost is what a server knows that has heard of no leader for a while.
func lost(since time.Duration) *Leadership { return &Leadership{LastContact: since} }

// ring is three servers: one that is cut off from the leader, one that reaches both, and the leader.
func ring(t *testing.T) (cut, between, leader *world, hops func() []string) {
	cut, between, leader = newSilentWorld(t), newSilentWorld(t), newSilentWorld(t)
	var all []string
	passport := newPassports(t).of(cluster.ID{7}, pki.RoleServer)
	to := func(name string, w *world) Carry {
		return func(rw http.ResponseWriter, r *http.Request) error {
			all = append(all, name+" "+r.Header.Get(headerForwarded))
			got, r := httptest.NewRecorder(), r.Clone(r.Context())
			r.TLS = passport
			w.handler.ServeHTTP(got, r)
			if got.Header().Get(cluster.HeaderError) == string(cluster.CodeUnavailable) {
				return cluster.Errorf(cluster.CodeUnavailable, "%s", got.Body)
			}
			rw.WriteHeader(got.Code)
			_, err := io.Copy(rw, got.Body)
			return err
		}
	}
	cut.leader.Store(lost(time.Minute))
	between.leader.Store(&Leadership{ID: otherID})
	cut.carry, between.carry = to("between", between), to("leader", leader)
	for _, w := range []*world{cut, between} {
		w.handler.(*apiHandler).Another = func(_ context.Context, vain []cluster.ID) cluster.ID {
			if len(vain) > 0 {
				return cluster.ID{}
			}
			return nodeID
		}
	}
	return cut, between, leader, func() []string { defer func() { all = nil }(); return all }
}

// call is one request to a world that has no socket.
func (w *world) call(method, path, body string) *httptest.ResponseRecorder {
	got, r := httptest.NewRecorder(), httptest.NewRequest(method, path, strings.NewReader(body))
	if body == "" {
		r = httptest.NewRequest(method, path, nil)
	}
	w.handler.ServeHTTP(got, r)
	return got
}

// TestServersWithoutALeaderAskOthers shows the way of reads and writes past a cut, and that they go no further than that.
func TestServersWithoutALeaderAskOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut, between, leader, hops := ring(t)
		began := time.Now()
		got := cut.call("PUT", "/v1/jobs", `{"Job": `+jobText("web")+`}`)
		if want := "between 2, leader 1"; got.Code != 200 || strings.Join(hops(), ", ") != want || time.Since(began) > time.Second {
			t.Errorf("a write: %d %q after %v", got.Code, got.Body, time.Since(began))
		}
		if leader.Snapshot().Job("default", "web") == nil {
			t.Error("the leader has no job")
		}
		if got := cut.call("GET", "/v1/job/web", ""); got.Code != 200 || !strings.Contains(got.Body.String(), "team-web") {
			t.Errorf("a read: %d %q", got.Code, got.Body)
		}
		hops()

		// Both sides of the cut have lost the leader: they ask one another, each once in a while, for as long as a request waits.
		between.leader.Store(lost(time.Minute))
		began = time.Now()
		got = cut.call("GET", "/v1/job/web", "")
		if got.Code != 500 || got.Body.String() != "No cluster leader" || time.Since(began) > leaderPatience+time.Second {
			t.Errorf("without a leader: %d %q after %v", got.Code, got.Body, time.Since(began))
		}
		if tried := hops(); len(tried) < 2 || len(tried) > int(leaderPatience/asideRest)+1 || strings.Contains(strings.Join(tried, ""), "leader") {
			t.Errorf("ways tried: %q", tried)
		}

		// One that is in the middle of an election waits for its end and asks nobody.
		cut.leader.Store(lost(0))
		time.AfterFunc(time.Second, func() { cut.leader.Store(leader.leader.Load()) })
		if got := cut.call("GET", "/v1/jobs", ""); got.Code != 200 || len(hops()) != 0 {
			t.Errorf("in an election: %d %q", got.Code, got.Body)
		}
	})
}

// TestWhatLosesTheLeaderGoesAnotherWay has a read wait at the leader while that is cut off from this server alone.
func TestWhatLosesTheLeaderGoesAnotherWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut, _, leader, _ := ring(t)
		leader.call("PUT", "/v1/jobs", `{"Job": `+jobText("web")+`}`)
		cut.leader.Store(&Leadership{ID: otherID})
		around := cut.carry
		cut.carry = func(w http.ResponseWriter, r *http.Request) error {
			if r.Header.Get(headerForwarded) == forwarded {
				<-r.Context().Done()
				return r.Context().Err()
			}
			return around(w, r)
		}
		time.AfterFunc(time.Minute, func() { cut.leader.Store(lost(time.Second)) })
		time.AfterFunc(time.Minute+time.Second, func() { cut.leader.Store(lost(2 * time.Second)) })
		began := time.Now()
		if got := cut.call("GET", "/v1/jobs?index=5&wait=5m", ""); got.Code != 200 || time.Since(began) > time.Minute+2*time.Second {
			t.Errorf("%d %q after %v", got.Code, got.Body, time.Since(began))
		}
	})
}

// TestWhoKnowsTheLeaderAgainGoesToIt has a read wait at another server, which is lost later: by then it waits at the leader.
func TestWhoKnowsTheLeaderAgainGoesToIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut, between, leader, _ := ring(t)
		leader.call("PUT", "/v1/jobs", `{"Job": `+jobText("web")+`}`)
		cut.carry = func(w http.ResponseWriter, r *http.Request) error {
			if r.Header.Get(headerForwarded) == aside {
				<-r.Context().Done() // nobody says that it is lost
				return r.Context().Err()
			}
			return between.carry(w, r)
		}
		time.AfterFunc(time.Minute, func() { cut.leader.Store(&Leadership{ID: otherID}) })
		began := time.Now()
		if got := cut.call("GET", "/v1/jobs?index=5&wait=5m", ""); got.Code != 200 || time.Since(began) > time.Minute+time.Second {
			t.Errorf("%d %q after %v", got.Code, got.Body, time.Since(began))
		}
	})
}

// TestWhatGoesNoOtherWay: a server's own requests, for which another cannot speak.
func TestWhatGoesNoOtherWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut, _, _, hops := ring(t)
		own := httptest.NewRequest("GET", api.SelfAllocs.URL(nodeID.String()), nil).WithContext(asServer(context.Background(), nodeID))
		got := httptest.NewRecorder()
		cut.handler.ServeHTTP(got, own)
		if got.Code != 500 || got.Body.String() != "No cluster leader" || len(hops()) != 0 {
			t.Errorf("%d %q", got.Code, got.Body)
		}
	})
}

// TestAWriteThatGotLostGoesAnotherWayOnce has the answer of one server get lost: the job is registered once.
func TestAWriteThatGotLostGoesAnotherWayOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut, _, leader, _ := ring(t)
		around, first := cut.carry, true
		cut.carry = func(w http.ResponseWriter, r *http.Request) error {
			if first {
				first = false
				around(httptest.NewRecorder(), r)
				return cluster.Errorf(cluster.CodeUnavailable, "ask node %s: connection reset", nodeID)
			}
			return around(w, r)
		}
		got := cut.call("PUT", "/v1/jobs", `{"Job": `+jobText("web")+`}`)
		if job := leader.Snapshot().Job("default", "web"); got.Code != 200 || job == nil || job.Version != 0 {
			t.Errorf("%d %q, %+v", got.Code, got.Body, job)
		}
	})
}

// TestABusyLeaderIsNotAskedForEver has a leader answer late, each time, that it is too busy: whoever writes is told that.
func TestABusyLeaderIsNotAskedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		follower, asked := newSilentWorld(t), 0
		follower.leader.Store(&Leadership{ID: otherID})
		follower.carry = func(_ http.ResponseWriter, r *http.Request) error {
			asked++
			pause(r.Context(), applyPatience)
			return errBusy
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began, got := time.Now(), httptest.NewRecorder()
		r := httptest.NewRequestWithContext(ctx, "PUT", "/v1/jobs", strings.NewReader(`{"Job": `+jobText("web")+`}`))
		follower.handler.ServeHTTP(got, r)
		if got.Code != 500 || !strings.Contains(got.Body.String(), "too busy") || time.Since(began) > insistence+applyPatience || asked > 4 {
			t.Errorf("%d %q after %v, asked %d times", got.Code, got.Body, time.Since(began), asked)
		}
	})
}
