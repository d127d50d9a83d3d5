package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/state"
)

// ErrAnew says that Run ended so that Open can be called again, at once: it will go on from another copy of the state.
var ErrAnew = errors.New("the server begins anew")

const (
	fileEpoch = "epoch.json" // epochFile, in the server's directory
	fileLog   = "raft.db"
	snapshots = "snapshots"
	oldPrefix = "old-epoch-" // directories of copies that are of no use any more; the newest is kept
	metaEpoch = "epoch"      // in the state: the epoch, JSON
)

const (
	// inquiry is how long a server that starts asks the others for their epoch before it takes part in elections: a
	// server of a newer epoch calls on it in this time (see heraldInterval).
	inquiry         = 3 * time.Second
	inquiryInterval = 250 * time.Millisecond
	// heraldInterval is how often the leader of a cluster that was re-formed looks for those who were left behind.
	heraldInterval = time.Second
)

// epochFile is what a server knows of epochs, on disk.
type epochFile struct {
	Epoch  uint64        // of this server's copy of the state
	Known  uint64        // the newest that a server of the cluster said it has
	Behind []cluster.ID  `json:",omitempty"` // servers that the newest re-forming left behind
	Next   *epochPurpose `json:",omitempty"` // what to do at the next start, nil: nothing
}

// epochPurpose is how a server comes into another epoch.
type epochPurpose struct {
	Epoch  uint64
	Reform bool         // its copy becomes that of the cluster; otherwise it is put aside
	Behind []cluster.ID `json:",omitempty"`
	Aside  string       `json:",omitempty"` // the directory for the copy that is put aside
}

// epochs keeps a server's epoch. Its methods may be called concurrently.
type epochs struct {
	dir  string
	news chan struct{} // has room for one: Known or Next changed

	mu   sync.Mutex // guards file
	file epochFile
}

// openEpochs reads the server's epoch, after doing what was decided before the server began anew.
func openEpochs(c *Config) (e *epochs, reformed bool, err error) {
	e = &epochs{dir: c.Dir, news: make(chan struct{}, 1)}
	text, err := os.ReadFile(filepath.Join(c.Dir, fileEpoch))
	if err == nil {
		err = json.Unmarshal(text, &e.file)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("read epoch in %s: %w: %s", c.Dir, err, link.AdviceLost)
	}
	next := e.file.Next
	if next == nil {
		return e, false, nil
	}
	if next.Reform {
		err = reform(c, next)
	} else {
		err = putAside(c.Dir, next)
	}
	if err != nil {
		return nil, false, err
	}
	done := epochFile{Epoch: next.Epoch, Known: max(next.Epoch, e.file.Known), Behind: next.Behind}
	if err := e.write(done); err != nil {
		return nil, false, err
	}
	c.Logger.Info("this server begins anew", "epoch", cluster.EpochNumber(next.Epoch))
	return e, next.Reform, nil
}

// write replaces the file, on disk and in memory.
func (e *epochs) write(next epochFile) error {
	text, err := json.Marshal(next)
	if err == nil {
		err = link.WriteFile(filepath.Join(e.dir, fileEpoch), text)
	}
	if err != nil {
		return fmt.Errorf("write epoch: %w", err)
	}
	e.file = next
	return nil
}

// now is what is known.
func (e *epochs) now() epochFile {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.file
}

// hear takes in that a server of the cluster said it has the epoch. What cannot be written is still known until the end.
func (e *epochs) hear(epoch uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if epoch <= max(e.file.Known, e.file.Epoch) {
		return nil
	}
	next := e.file
	next.Known = epoch
	err := e.write(next)
	e.file = next
	e.wake()
	return err
}

// decide writes down how the server goes on after it has begun anew.
func (e *epochs) decide(purpose *epochPurpose) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.file
	next.Next = purpose
	defer e.wake()
	return e.write(next)
}

func (e *epochs) wake() {
	select {
	case e.news <- struct{}{}:
	default: // it is known already
	}
}

// superseded reports whether this server's copy is of no use any more.
func (f epochFile) superseded() bool { return f.Known > f.Epoch }

// reform makes the copy in the server's directory that of a cluster in which this server alone decides. It may be done
// twice. All that is in the log counts as decided: what was, is among it.
func reform(c *Config, purpose *epochPurpose) error {
	settings := raftSettings(c.Identity.ID(), c.Logger)
	log, err := openLog(filepath.Join(c.Dir, fileLog), lockPatience)
	if err != nil {
		return err
	}
	defer log.Close()
	kept, err := raft.NewFileSnapshotStoreWithLogger(c.Dir, snapshotsKept, settings.Logger)
	if err != nil {
		return fmt.Errorf("open snapshots in %s: %w", c.Dir, err)
	}
	_, transport := raft.NewInmemTransport(raft.ServerAddress(c.Advertise))
	defer transport.Close()
	whole := &careful{&machine{store: state.New(), newer: make(chan error, 1)}}
	alone := raft.Configuration{Servers: []raft.Server{{ID: settings.LocalID, Address: raft.ServerAddress(c.Advertise)}}}
	if err := raft.RecoverCluster(settings, whole, log, log, kept, transport, alone); err != nil {
		return fmt.Errorf("re-form the cluster from the copy in %s as epoch %d: %w", c.Dir, cluster.EpochNumber(purpose.Epoch), err)
	}
	return nil
}

// careful is a machine that makes no snapshot if there was something that this program does not understand.
type careful struct{ *machine }

// Snapshot takes the state if all of the log is in it.
func (m *careful) Snapshot() (raft.FSMSnapshot, error) {
	select {
	case err := <-m.newer:
		return nil, err
	default:
		return m.machine.Snapshot()
	}
}

// putAside moves the log and its snapshots out of the way and forgets older copies. It may be done twice.
func putAside(dir string, purpose *epochPurpose) error {
	aside := filepath.Join(dir, filepath.Base(purpose.Aside))
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return fmt.Errorf("put the old copy of the state aside: %w", err)
	}
	for _, name := range []string{snapshots, fileLog} {
		err := os.Rename(filepath.Join(dir, name), filepath.Join(aside, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("put the old copy of the state aside: %w", err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for old copies of the state: %w", err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), oldPrefix) && entry.Name() != filepath.Base(aside) {
			if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
				return fmt.Errorf("remove an older copy of the state: %w", err)
			}
		}
	}
	return nil
}

// Epoch is that of this server's copy of the state.
func (s *Server) Epoch() uint64 { return s.epochs.now().Epoch }

// Superseded is a newer epoch than this server's copy is of, 0 if none is known. Such a copy answers nothing.
func (s *Server) Superseded() uint64 {
	if now := s.epochs.now(); now.superseded() {
		return now.Known
	}
	return 0
}

// refusal says why this server's copy answers nothing, "" if it does.
func (s *Server) refusal() string {
	now := s.epochs.now()
	if !now.superseded() {
		return ""
	}
	return fmt.Sprintf("this server's copy of the state is of epoch %d and not valid any more: the cluster was re-formed as epoch %d, and no server of that "+
		"answers: bring one back, or go on from the newest copy that there is with `cluster recover`", cluster.EpochNumber(now.Epoch), cluster.EpochNumber(now.Known))
}

// hearEpoch is told what another server says that it has.
func (s *Server) hearEpoch(epoch uint64) {
	if err := s.epochs.hear(epoch); err != nil {
		s.logger.Error("a newer epoch of the cluster cannot be remembered", "epoch", cluster.EpochNumber(epoch), "err", err)
	}
}

// others are the servers that this one knows of: of Raft's configuration, of gossip and from before its start.
func (s *Server) others() []cluster.ID {
	var all []cluster.ID
	if future := s.replica.raft.GetConfiguration(); future.Error() == nil {
		for _, member := range future.Configuration().Servers {
			if id, err := cluster.ParseID(string(member.ID)); err == nil {
				all = append(all, id)
			}
		}
	}
	for id, m := range s.membersByID() {
		if m.Server && m.State != cluster.MemberLeft && !m.Left {
			all = append(all, id)
		}
	}
	all = append(append(all, s.config.Remembered...), s.epochs.now().Behind...)
	slices.SortFunc(all, cluster.ID.Compare)
	return slices.DeleteFunc(slices.Compact(all), func(id cluster.ID) bool { return id == s.config.Identity.ID() })
}

// guardEpoch keeps this server out of elections until the others have told their epoch, or had the time to, and for ever if its copy is
// superseded. It ends with ErrAnew when the copy turns out to be that, or when the server should go on from another copy.
func (s *Server) guardEpoch(ctx context.Context) error {
	silenced := s.epochs.now().superseded()
	if silenced {
		s.logger.Error("this server answers nothing", "why", s.refusal())
	}
	if !s.replica.standing.Load() && !silenced {
		s.inquire(ctx)
		if !s.epochs.now().superseded() && ctx.Err() == nil {
			if err := s.replica.stand(); err != nil {
				return err
			}
		}
	}
	for ctx.Err() == nil {
		changed := s.membersChanged()
		newest, living := s.newestEpoch()
		s.hearEpoch(newest)
		switch now := s.epochs.now(); {
		case now.Next != nil:
			return ErrAnew
		case !now.superseded():
		case living >= now.Known:
			purpose := &epochPurpose{Epoch: living, Aside: fmt.Sprintf("%s%d-%s", oldPrefix, cluster.EpochNumber(now.Epoch), time.Now().UTC().Format("20060102-150405"))}
			if s.replica.raft.LastIndex() > 0 {
				s.logger.Warn("the cluster was re-formed without this server: its copy of the state is put aside, and it follows the others", "epoch", cluster.EpochNumber(living))
			}
			if err := s.epochs.decide(purpose); err != nil {
				return err
			}
			return ErrAnew
		case !silenced: // Raft may lead, follow or be asked for its vote: it must end, and after that it speaks with nobody
			return ErrAnew
		}
		select {
		case <-changed:
		case <-s.epochs.news:
		case <-ctx.Done():
		}
	}
	return nil
}

// newestEpoch is the newest epoch that a server has announced, and the newest of a server that lives.
func (s *Server) newestEpoch() (known, living uint64) {
	if s.config.NewestEpoch != nil {
		known = s.config.NewestEpoch()
	}
	for _, m := range s.membersByID() {
		if m.Server {
			known = max(known, m.Epoch)
			if m.State == cluster.MemberAlive && !m.Left && m.Node != s.config.Identity.ID() {
				living = max(living, m.Epoch)
			}
		}
	}
	return known, living
}

// inquire asks all other servers for their epoch, and tells them this one's, until each has answered or the time is over.
func (s *Server) inquire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, inquiry)
	defer cancel()
	silent := s.others()
	for len(silent) > 0 && ctx.Err() == nil && !s.epochs.now().superseded() {
		silent = s.callOn(ctx, silent)
		if len(silent) > 0 {
			pause(ctx, inquiryInterval)
		}
	}
}

// callOn asks the servers for their epoch and tells them this one's. It returns those that did not answer.
func (s *Server) callOn(ctx context.Context, servers []cluster.ID) (silent []cluster.ID) {
	answered := make([]bool, len(servers))
	var group sync.WaitGroup
	for i, id := range servers {
		group.Go(func() {
			theirs, err := AskProgress(ctx, s.config.Dialer, id, s.Epoch())
			if answered[i] = err == nil; answered[i] {
				s.hearEpoch(theirs.Epoch)
			}
		})
	}
	group.Wait()
	for i, id := range servers {
		if !answered[i] {
			silent = append(silent, id)
		}
	}
	return silent
}

// herald tells servers that a re-forming left behind of the epoch as soon as they come back, until ctx ends: two of them
// might be a majority of what was, and they may know no address at which anybody answers. For the leader.
func (s *Server) herald(ctx context.Context) error {
	for ctx.Err() == nil {
		behind := s.behind()
		if len(behind) == 0 {
			return nil
		}
		s.callOn(ctx, behind)
		pause(ctx, heraldInterval)
	}
	return nil
}

// behind are the servers that were left behind and have not come back.
func (s *Server) behind() []cluster.ID {
	members, epoch := s.membersByID(), s.Epoch()
	return slices.DeleteFunc(slices.Clone(s.epochs.now().Behind), func(id cluster.ID) bool {
		m, met := members[id]
		return met && (m.Epoch >= epoch || m.Left || m.State == cluster.MemberLeft) || s.Removed(id)
	})
}

// establishEpoch writes the epoch into the state. For the leader.
func (s *Server) establishEpoch(ctx context.Context) error {
	epoch := s.Epoch()
	text, err := json.Marshal(epoch)
	if err != nil || epoch == 0 || string(s.Snapshot().Meta(metaEpoch)) == string(text) {
		return err
	}
	if _, err := s.Apply(ctx, &state.SetMeta{At: time.Now().UnixNano(), Key: metaEpoch, Value: text}); err != nil {
		return fmt.Errorf("write epoch: %w", err)
	}
	return nil
}
