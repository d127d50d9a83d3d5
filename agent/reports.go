package agent

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/a43e60e4/cluster"
)

// reports carries to the servers what became of allocations. An update is the whole state of its allocation, so of
// several that wait only the newest is sent. A change that somebody may wait for is sent at once if nothing was sent
// for a while; after each sending there is a pause in which more collects.
type reports struct {
	send func(ctx context.Context, updates []cluster.AllocUpdate) error
	sent func(cluster.AllocUpdate) // called after the servers have the update
	log  *slog.Logger

	wake chan struct{} // holds one token while there is something new
	mu   sync.Mutex    // guards what follows
	// waiting are the updates not sent yet; order is that of their arrival.
	waiting map[cluster.ID]cluster.AllocUpdate
	order   []cluster.ID
	urgent  bool
}

const (
	reportPause = 150 * time.Millisecond // between two reports
	reportDelay = 100 * time.Millisecond // of what is not urgent
	reportMost  = 1000                   // updates in one report
)

func newReports(send func(context.Context, []cluster.AllocUpdate) error, sent func(cluster.AllocUpdate), log *slog.Logger) *reports {
	return &reports{send: send, sent: sent, log: log, wake: make(chan struct{}, 1), waiting: map[cluster.ID]cluster.AllocUpdate{}}
}

// put takes an update to be sent. It never blocks.
func (p *reports) put(u cluster.AllocUpdate, urgent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.waiting[u.ID]; !ok {
		p.order = append(p.order, u.ID)
	}
	p.waiting[u.ID] = u
	p.urgent = p.urgent || urgent
	p.poke()
}

func (p *reports) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take removes the oldest updates to send them.
func (p *reports) take() []cluster.AllocUpdate {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.order), reportMost)
	batch := make([]cluster.AllocUpdate, n)
	for i, id := range p.order[:n] {
		batch[i] = p.waiting[id]
		delete(p.waiting, id)
	}
	p.order = append([]cluster.ID(nil), p.order[n:]...)
	p.urgent = p.urgent && len(p.order) > 0
	if len(p.order) > 0 {
		p.poke()
	}
	return batch
}

// giveBack returns what could not be sent, unless something newer of the same allocation waits.
func (p *reports) giveBack(batch []cluster.AllocUpdate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range batch {
		if _, ok := p.waiting[u.ID]; !ok {
			p.waiting[u.ID] = u
			p.order = append(p.order, u.ID)
		}
	}
	p.urgent = true
	p.poke()
}

func (p *reports) isUrgent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.urgent
}

// run sends until ctx ends. What fails is tried again, for ever.
func (p *reports) run(ctx context.Context) {
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		if !p.isUrgent() && !p.linger(ctx) {
			return
		}
		pause := reportPause
		if err := p.flush(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			failures++
			pause = backoff(failures)
			const notable = 3 // in a row; fewer belong to every change of leaders
			if failures == notable {
				p.log.Warn("the servers do not take this node's reports: they are kept and sent again", "err", err)
			}
		} else {
			failures = 0
		}
		if !rest(ctx, pause) {
			return
		}
	}
}

// linger lets updates that are not urgent collect. It reports false when ctx ended.
func (p *reports) linger(ctx context.Context) bool {
	timer := time.NewTimer(reportDelay)
	defer timer.Stop()
	for !p.isUrgent() {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-p.wake:
		}
	}
	return true
}

// flush sends what waits, one report's worth.
func (p *reports) flush(ctx context.Context) error {
	batch := p.take()
	if len(batch) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := p.send(ctx, batch); err != nil {
		p.giveBack(batch)
		return err
	}
	for _, u := range batch {
		p.sent(u)
	}
	return nil
}

// backoff is how long to wait after that many failures in a row: 0.1 s to 5 s, and up to a quarter more.
func backoff(failures int) time.Duration {
	d := min(100*time.Millisecond<<min(failures-1, 10), 5*time.Second)
	return d + rand.N(d/4)
}

// rest waits. It reports false when ctx ended first.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
