package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/pki"
	"github.com/a43e60e4/cluster/server/state"
)

// leadPause is how long a leader whose work failed waits before it begins anew.
const leadPause = 500 * time.Millisecond

// follow runs lead for as long as this server leads, again and again, until ctx ends.
func (s *Server) follow(ctx context.Context) error {
	changes := s.replica.raft.LeaderCh()
	var end func()
	resign := func() {
		if end != nil {
			end()
			end = nil
		}
	}
	defer resign()
	for {
		select {
		case leads := <-changes:
			resign()
			if leads {
				end = s.begin(ctx)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// begin starts a term of leadership; the function it returns ends it and waits until all of it has ended.
func (s *Server) begin(ctx context.Context) (end func()) {
	term, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for term.Err() == nil {
			if err := s.lead(term); err != nil && term.Err() == nil {
				s.logger.Warn("leader's work failed, beginning anew", "err", err)
				pause(term, leadPause)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// lead does all that a leader does, until ctx ends or something fails. The state alone says what is to be done:
// each part looks at the newest snapshot, does what is missing and waits for a newer one.
func (s *Server) lead(ctx context.Context) error {
	if err := explain(s.replica.raft.Barrier(0).Error()); err != nil { // Raft answers also when leadership ends
		return fmt.Errorf("catch up with the log: %w", err)
	}
	if err := s.establish(ctx); err != nil {
		return err
	}
	s.overlay.reset()
	s.leases.begin(time.Now())
	term := ctx
	s.leading.Store(&term)
	defer s.leading.Store(nil)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.planEvaluations(ctx) })
	group.Go(func() error { return s.driveDeployments(ctx) })
	group.Go(func() error { return s.driveDrains(ctx) })
	group.Go(func() error { return s.drivePeriodic(ctx) })
	group.Go(func() error { return s.watchNodes(ctx) })
	group.Go(func() error { return s.watchAbsent(ctx) })
	group.Go(func() error { return s.driveServers(ctx) })
	group.Go(func() error { return s.herald(ctx) })
	group.Go(func() error { return s.driveKeys(ctx) })
	group.Go(func() error { return s.collectGarbage(ctx) })
	return group.Wait()
}

// The keys of facts about the cluster itself in the state.
const (
	metaCluster  = "cluster" // clusterRecord
	metaSealedBy = "ca-key/" // + server ID: the authority's key, sealed for that server
)

// clusterRecord is what all servers know of the cluster itself.
type clusterRecord struct {
	Authority string // its certificate, PEM
	CreatedAt int64
}

// establish stores, once in a cluster's life, who it is.
func (s *Server) establish(ctx context.Context) error {
	snapshot := s.Snapshot()
	if snapshot.Meta(metaCluster) == nil {
		now := time.Now().UnixNano()
		text, err := json.Marshal(clusterRecord{Authority: string(pki.PEM(s.config.Identity.Authority())), CreatedAt: now})
		if err != nil {
			return fmt.Errorf("write cluster record: %w", err)
		}
		_, err = s.Apply(ctx, &state.SetMeta{At: now, Key: metaCluster, Value: text, Create: true})
		if err != nil && cluster.CodeOf(err) != cluster.CodeConflict {
			return fmt.Errorf("write cluster record: %w", err)
		}
	}
	if err := s.establishTrust(ctx); err != nil {
		return err
	}
	if err := s.establishEpoch(ctx); err != nil {
		return err
	}
	if err := s.establishTracked(ctx); err != nil {
		return err
	}
	key := metaSealedBy + s.config.Identity.ID().String()
	if snapshot.Meta(key) != nil {
		return nil
	}
	sealed, err := s.vault.text()
	if err != nil || sealed == nil {
		return err
	}
	if _, err := s.Apply(ctx, &state.SetMeta{At: time.Now().UnixNano(), Key: key, Value: sealed}); err != nil {
		return fmt.Errorf("write sealed authority key: %w", err)
	}
	return nil
}

// establishTracked lets all servers keep as many versions of jobs as this one is told to.
func (s *Server) establishTracked(ctx context.Context) error {
	stored := s.Snapshot().Meta(state.MetaTrackedVersions)
	want := strconv.Itoa(cmp.Or(s.config.TrackedVersions, state.DefaultTrackedVersions))
	if cmp.Or(string(stored), strconv.Itoa(state.DefaultTrackedVersions)) == want {
		return nil
	}
	_, err := s.Apply(ctx, &state.SetMeta{At: time.Now().UnixNano(), Key: state.MetaTrackedVersions, Value: []byte(want)})
	if err != nil {
		return fmt.Errorf("write how many versions are kept: %w", err)
	}
	return nil
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
