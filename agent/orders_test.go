package agent

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a43e60e4/cluster"
)

// order asks the agent under the ID of a request.
func (n *incarnation) order(ctx context.Context, id, path, body string) (int, string) {
	r := httptest.NewRequestWithContext(ctx, "PUT", "/v1/client/allocation/"+path, strings.NewReader(body))
	if id != "" {
		r.Header.Set(cluster.HeaderRequestID, id)
	}
	w := httptest.NewRecorder()
	n.node.Handler().ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// TestOrdersAreCarriedOutOnce repeats orders as a server does that got no answer, at once, later, and after the agent was killed.
func TestOrdersAreCarriedOutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start(0)
		defer func() { n.stop() }()
		a := w.change(testAlloc(1, cluster.JobTypeService, nil, "web"), nil)
		sleep(time.Second)
		ask := func(id string) {
			t.Helper()
			for path, body := range map[string]string{"/restart": "", "/signal": `{"Signal": "SIGHUP"}`} {
				if code, text := n.order(t.Context(), id, a.ID.String()+path, body); code != http.StatusOK {
					t.Errorf("%s %s: %d %s", id, path, code, text)
				}
				sleep(3 * time.Second)
			}
		}
		done := func(when string, times int) {
			t.Helper()
			hups := 0
			for _, s := range w.sent() {
				if strings.HasSuffix(s, " SIGHUP") {
					hups++
				}
			}
			if web := taskOf(t, w.alloc(a.ID), "web"); int(web.Restarts) != times || len(w.begun()) != times+1 || hups != times {
				t.Errorf("%s: %d restarts, %d starts, %d signals, want %d", when, web.Restarts, len(w.begun()), hups, times)
			}
		}
		for range 3 {
			ask("one")
		}
		done("asked three times", 1)
		n.stop()
		n = w.start(0)
		sleep(time.Second)
		ask("one")
		done("asked another agent", 1)
		ask("two")
		done("asked for another", 2)
		ask("")
		ask("")
		done("asked without a name", 4)
		sleep(time.Duration(orderMemory) + time.Second)
		ask("one")
		done("asked when it is long forgotten", 5)
		for i := range 2 * mostOrders {
			n.order(t.Context(), strings.Repeat("x", i+1), a.ID.String()+"/signal", `{"Signal": "SIGUSR1"}`)
		}
		synctest.Wait()
		if got := len(n.node.runner(a.ID).record().Orders); got != mostOrders {
			t.Errorf("%d orders are remembered", got)
		}
	})
}

// TestAnOrderOutlivesWhoAsked has whoever carries an order cut off while it is carried out.
func TestAnOrderOutlivesWhoAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start(0)
		defer func() { n.stop() }()
		a := w.change(testAlloc(1, cluster.JobTypeService, nil, "web"), nil)
		sleep(time.Second)
		run := n.node.runner(a.ID)
		begun, times := make(chan struct{}), 0
		work := func(ctx context.Context) error {
			times++
			close(begun)
			select {
			case <-time.After(time.Second):
				return cluster.Errorf(cluster.CodeInvalid, "no such signal")
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		ctx, cut := context.WithCancel(t.Context())
		go func() {
			<-begun
			cut()
		}()
		if err := run.once(ctx, "one", work); err != context.Canceled {
			t.Errorf("cut off: %v", err)
		}
		for range 2 { // while it is carried out, and afterwards
			if err := run.once(t.Context(), "one", work); cluster.CodeOf(err) != cluster.CodeInvalid || err.Error() != "no such signal" || times != 1 {
				t.Errorf("again: %v, done %d times", err, times)
			}
			sleep(time.Second)
		}
	})
}

// TestNobodyKnowsOfAnOrderThatTheAgentDiedOver kills the agent between its decision to send a signal and the note that it did.
func TestNobodyKnowsOfAnOrderThatTheAgentDiedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start(0)
		a := w.change(testAlloc(1, cluster.JobTypeService, nil, "web"), nil)
		sleep(time.Second)
		n.pmu.Lock()
		n.dieAt = len(n.points) + 4 // around the journal, before the signal, after it
		n.pmu.Unlock()
		n.order(t.Context(), "one", a.ID.String()+"/signal", `{"Signal": "SIGHUP"}`)
		<-n.done
		if last := n.points[len(n.points)-1]; last != "after signal" {
			t.Fatalf("it died at %q", last)
		}
		n = w.start(0)
		defer n.stop()
		sleep(time.Second)
		for range 2 {
			code, text := n.order(t.Context(), "one", a.ID.String()+"/signal", `{"Signal": "SIGHUP"}`)
			if code != http.StatusInternalServerError || !strings.Contains(text, "may or may not") || len(w.sent()) != 1 {
				t.Errorf("%d %s, sent %q", code, text, w.sent())
			}
		}
	})
}

// TestOrdersThatCannotBeWrittenAreNotCarriedOut: what is not on record would be done twice, and a task that is ended could not start.
func TestOrdersThatCannotBeWrittenAreNotCarriedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start(0)
		defer func() { n.stop() }()
		a := w.change(testAlloc(1, cluster.JobTypeService, nil, "web"), nil)
		sleep(time.Second)
		orders := map[string]string{"/restart": "", "/signal": `{"Signal": "SIGHUP"}`}
		w.full.Store(true)
		for range 2 {
			for path, body := range orders {
				code, text := n.order(t.Context(), "one"+path, a.ID.String()+path, body)
				if code != cluster.CodeRejected.Status() || !strings.Contains(text, "no space left on device") || !strings.Contains(text, "nothing was done") {
					t.Errorf("%s: %d %s", path, code, text)
				}
			}
			if code, text := n.order(t.Context(), "", a.ID.String()+"/restart", ""); code == http.StatusOK {
				t.Errorf("without a name: %s", text)
			}
			sleep(10 * time.Second)
		}
		if len(w.running()) != 1 || len(w.begun()) != 1 || len(w.sent()) != 0 {
			t.Errorf("running %v, begun %v, sent %v", w.running(), w.begun(), w.sent())
		}
		if web := taskOf(t, w.alloc(a.ID), "web"); web.State != cluster.TaskRunning || strings.Contains(diary(web), "Restart") {
			t.Errorf("the servers have %s", diary(web))
		}
		w.full.Store(false)
		sleep(5 * time.Second)
		for path, body := range orders {
			if code, text := n.order(t.Context(), "one"+path, a.ID.String()+path, body); code != http.StatusOK {
				t.Errorf("with room again, %s: %d %s", path, code, text)
			}
			sleep(5 * time.Second)
		}
		n.stop() // what is on record is what was done
		n = w.start(0)
		sleep(time.Second)
		for path, body := range orders {
			if code, text := n.order(t.Context(), "one"+path, a.ID.String()+path, body); code != http.StatusOK {
				t.Errorf("again, %s: %d %s", path, code, text)
			}
		}
		sleep(5 * time.Second)
		if web := taskOf(t, w.alloc(a.ID), "web"); web.Restarts != 1 || len(w.begun()) != 2 {
			t.Errorf("%d restarts, begun %v, sent %v", web.Restarts, w.begun(), w.sent())
		}
	})
}
