package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/state"
)

const (
	// Measured: elections within 2 s of a leader's death, and few false ones on lossy networks.
	// The lease is as long as the heartbeat, or a leader steps down at the first retransmission.
	raftTimeout = 700 * time.Millisecond
	// raftShyTimeout is the same for a server that cannot write its log: one with a full disk would be elected again as soon as
	// it has stepped down, and step down again. Others stand long before it does.
	raftShyTimeout = 4 * raftTimeout
	// commitTimeout is how long followers may wait to hear what is decided: the leader tells them so often, whether there is
	// news or not. Nothing that the leader answers waits for it; 10 ms cost a leader of three 7 % of a core.
	commitTimeout = 200 * time.Millisecond
	// snapshotsKept older snapshots can be restored if the newest turns out to be damaged.
	snapshotsKept = 3
	raftPool      = 3
	// lockPatience is how long a predecessor that is still ending may hold the log.
	lockPatience = 10 * time.Second
)

// replica is the replicated log of one server: Raft, its files, and the state that the log's commands make.
type replica struct {
	raft      *raft.Raft
	transport *prompt
	bolt      *keptLog
	machine   *machine
	self      raft.ServerID
	standing  atomic.Bool // it takes part in elections
	settling  sync.Mutex  // held while Raft's settings change
}

// keptLog is the log's file, and why the newest write to it failed.
type keptLog struct {
	*raftboltdb.BoltStore
	trouble atomic.Pointer[error] // nil after a write that did not fail
	turned  chan struct{}         // has room for one: trouble began or ended
}

// StoreLog implements raft.LogStore.
func (l *keptLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore.
func (l *keptLog) StoreLogs(logs []*raft.Log) error {
	err := l.BoltStore.StoreLogs(logs)
	var trouble *error
	if err != nil {
		trouble = &err
	}
	if before := l.trouble.Swap(trouble); (before == nil) != (trouble == nil) {
		select {
		case l.turned <- struct{}{}:
		default:
		}
	}
	return err
}

// failing is why the log cannot be written, nil if it can.
func (l *keptLog) failing() error {
	if err := l.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// openReplica opens (with bootstrap: begins) the log in dir. With eager it takes part in elections at once, and a cluster
// of this server alone elects it; otherwise it waits for stand.
func openReplica(c Config, store *state.Store, epochs *epochs, eager bool) (*replica, error) {
	settings := raftSettings(c.Identity.ID(), c.Logger)
	settings.HeartbeatTimeout, settings.ElectionTimeout = standAfter(eager, false), standAfter(eager, false)
	boltStore, err := openLog(filepath.Join(c.Dir, fileLog), lockPatience)
	if err != nil {
		return nil, err
	}
	m := &machine{store: store, newer: make(chan error, 1)}
	opened := &replica{bolt: &keptLog{BoltStore: boltStore, turned: make(chan struct{}, 1)}, machine: m, self: settings.LocalID}
	opened.standing.Store(eager)
	if err := opened.start(c, settings, epochs); err != nil {
		boltStore.Close()
		return nil, err
	}
	select {
	case err := <-m.newer: // Raft would go on with an older snapshot
		return nil, errors.Join(err, opened.close())
	default:
		return opened, nil
	}
}

// openLog opens the log's file. One that somebody has open is waited for, and is looked at only then: until it ends
// a predecessor writes.
func openLog(path string, patience time.Duration) (*raftboltdb.BoltStore, error) {
	err := whileLocked(path, patience, func() error { return checkLog(path) })
	if err != nil && !errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open log %s: %w: restore it from a copy, or move the data directory away to begin anew", path, err)
	}
	var log *raftboltdb.BoltStore
	if err == nil {
		log, err = raftboltdb.New(raftboltdb.Options{
			Path:                    path,
			BoltOptions:             &bolt.Options{Timeout: patience, NoFreelistSync: true, FreelistType: bolt.FreelistMapType},
			MsgpackUseNewTimeFormat: true,
		})
	}
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open log %s: another agent has it open: end that one, or choose another data directory", path)
	case err != nil:
		return nil, fmt.Errorf("open log %s: %w", path, err)
	}
	return log, nil
}

// watch returns an error when the log or a snapshot turns out to be a newer program's: this one must not go on then.
// Otherwise it returns when ctx ends. Meanwhile it lets other servers stand for election first while the log cannot be written.
func (r *replica) watch(ctx context.Context) error {
	for {
		select {
		case err := <-r.machine.newer:
			return err
		case <-r.bolt.turned:
			if err := r.settle(); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// never is how long a server that must not stand for election waits for a leader.
const never = 24 * time.Hour

// stand lets a server that was opened without being eager take part in elections.
func (r *replica) stand() error {
	if alone(r.raft, r.self) {
		r.transport.electNow()
	}
	r.standing.Store(true)
	return r.settle()
}

// settle has Raft wait as long for a leader, before this server stands for election, as is right now. It may be called concurrently:
// both look at what is so at the moment.
func (r *replica) settle() error {
	r.settling.Lock()
	defer r.settling.Unlock()
	wait := standAfter(r.standing.Load(), r.bolt.failing() != nil && !alone(r.raft, r.self))
	settings := r.raft.ReloadableConfig()
	settings.HeartbeatTimeout, settings.ElectionTimeout = wait, wait
	if err := r.raft.ReloadConfig(settings); err != nil {
		return fmt.Errorf("take part in elections: %w", err)
	}
	return nil
}

// standAfter is how long a server waits for a leader before it stands for election itself: one that must not, and one that others
// should take the turn of.
func standAfter(stands, shy bool) time.Duration {
	switch {
	case !stands:
		return never
	case shy:
		return raftShyTimeout
	}
	return raftTimeout
}

func (r *replica) start(c Config, settings *raft.Config, epochs *epochs) error {
	log := r.bolt
	kept, err := raft.NewFileSnapshotStoreWithLogger(c.Dir, snapshotsKept, settings.Logger)
	if err != nil {
		return fmt.Errorf("open snapshots in %s: %w", c.Dir, err)
	}
	existing, err := raft.HasExistingState(log, log, kept)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	network := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: &raftStream{Listener: c.Raft, dialer: c.Dialer, epochs: epochs}, MaxPool: raftPool, Timeout: 2 * time.Second, Logger: settings.Logger,
		ServerAddressProvider: byID{}})
	r.transport = newPrompt(network)
	first := founded(c.Dir) && epochs.now().Epoch == 0 // of the cluster that began here, and began but once
	self := raft.Server{ID: settings.LocalID, Address: raft.ServerAddress(c.Advertise)}
	switch {
	case !existing && c.Bootstrap && first:
		if err := raft.BootstrapCluster(settings, log, log, kept, r.transport, raft.Configuration{Servers: []raft.Server{self}}); err != nil {
			r.transport.Close()
			return fmt.Errorf("begin log: %w", err)
		}
	case !existing && first:
		r.transport.Close()
		return cluster.Errorf(cluster.CodeInvalid, "open log in %s: the log of this cluster's first server is gone: "+
			"restore it from a copy, or begin a new cluster with -bootstrap", c.Dir)
	}
	if r.raft, err = raft.NewRaft(settings, r.machine, log, log, kept, r.transport); err != nil {
		r.transport.Close()
		return fmt.Errorf("start raft: %w", err)
	}
	if r.standing.Load() && alone(r.raft, r.self) {
		r.transport.electNow()
	}
	return nil
}

// alone reports whether this server is the only voter.
func alone(r *raft.Raft, id raft.ServerID) bool {
	future := r.GetConfiguration()
	if future.Error() != nil {
		return false
	}
	voters := 0
	for _, s := range future.Configuration().Servers {
		if s.Suffrage == raft.Voter {
			if s.ID != id {
				return false
			}
			voters++
		}
	}
	return voters == 1
}

func raftSettings(id cluster.ID, logger *slog.Logger) *raft.Config {
	settings := raft.DefaultConfig()
	settings.LocalID = raft.ServerID(id.String())
	settings.HeartbeatTimeout = raftTimeout
	settings.ElectionTimeout = raftTimeout
	settings.LeaderLeaseTimeout = raftTimeout
	settings.CommitTimeout = commitTimeout
	settings.BatchApplyCh = true // what waits is written with one sync
	settings.MaxAppendEntries = 256
	settings.ShutdownOnRemove = false // a server that was given up may come back
	settings.Logger = raftLogger(logger)
	return settings
}

// close ends Raft and then its files, in this order: Raft writes until it has ended.
func (r *replica) close() error {
	err := r.raft.Shutdown().Error()
	return errors.Join(err, r.bolt.Close())
}

// machine is the raft.FSM: it hands commands to the state in batches.
type machine struct {
	store *state.Store
	newer chan error // has room for one: what a newer program wrote and this one cannot read
}

var _ raft.BatchingFSM = (*machine)(nil)

// Apply applies one entry. Its result is a state.Reply.
func (m *machine) Apply(entry *raft.Log) any { return m.ApplyBatch([]*raft.Log{entry})[0] }

// ApplyBatch applies entries in order and publishes them together.
func (m *machine) ApplyBatch(entries []*raft.Log) []any {
	results := make([]any, len(entries))
	batch := make([]state.Entry, 0, len(entries))
	places := make([]int, 0, len(entries))
	for i, entry := range entries {
		if entry.Type == raft.LogCommand {
			batch, places = append(batch, state.Entry{Index: entry.Index, Command: entry.Data}), append(places, i)
		}
	}
	for i, reply := range m.store.ApplyBatch(batch) {
		results[places[i]] = reply
		m.judge(reply.Err)
	}
	return results
}

// judge passes the error on if it means that the server must end.
func (m *machine) judge(err error) {
	if !errors.Is(err, state.ErrNewer) {
		return
	}
	select {
	case m.newer <- err:
	default: // it is known already
	}
}

// Snapshot takes the newest state, which is free.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) { return frozen{m.store.Snapshot()}, nil }

// Restore replaces the state.
func (m *machine) Restore(from io.ReadCloser) error {
	defer from.Close()
	err := m.store.Restore(from)
	m.judge(err)
	return err
}

type frozen struct{ *state.Snapshot }

// Persist writes the snapshot to Raft's file.
func (f frozen) Persist(sink raft.SnapshotSink) error {
	if err := f.Snapshot.Persist(sink); err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}

// Release does nothing: a snapshot holds nothing that must be given back.
func (frozen) Release() {}

// prompt is a transport that can tell its own server to hold an election now, instead of waiting for a leader
// that cannot exist: a cluster of one is ready some hundred milliseconds earlier.
type prompt struct {
	*raft.NetworkTransport
	inbox chan raft.RPC
	stop  chan struct{}
	done  chan struct{}
}

func newPrompt(network *raft.NetworkTransport) *prompt {
	p := &prompt{network, make(chan raft.RPC), make(chan struct{}), make(chan struct{})}
	go p.forward()
	return p
}

// Consumer is the requests of others and our own.
func (p *prompt) Consumer() <-chan raft.RPC { return p.inbox }

// forward hands on the requests of others until Close.
func (p *prompt) forward() {
	defer close(p.done)
	for {
		select {
		case rpc := <-p.NetworkTransport.Consumer():
			if !p.deliver(rpc) {
				return
			}
		case <-p.stop:
			return
		}
	}
}

func (p *prompt) deliver(rpc raft.RPC) bool {
	select {
	case p.inbox <- rpc:
		return true
	case <-p.stop:
		return false
	}
}

// electNow makes the server a candidate. It returns when the server has taken note.
func (p *prompt) electNow() {
	reply := make(chan raft.RPCResponse, 1)
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}
	if p.deliver(raft.RPC{Command: &raft.TimeoutNowRequest{RPCHeader: header}, RespChan: reply}) {
		<-reply
	}
}

// Close ends the transport. Raft calls it once, when it has shut down.
func (p *prompt) Close() error {
	err := p.NetworkTransport.Close()
	p.CloseStreams()
	close(p.stop)
	<-p.done
	return err
}

// byID has Raft dial servers by their IDs, so that a changed address is no event.
type byID struct{}

// ServerAddr is the server's ID.
func (byID) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	return raft.ServerAddress(id), nil
}

// raftLogger passes Raft's messages on. What Raft finds worth a mention is a detail to an operator.
func raftLogger(logger *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Info, Output: io.Discard})
	l.RegisterSink(sink{logger})
	return l
}

type sink struct{ logger *slog.Logger }

// absences begin Raft's messages about servers that do not answer, and of what follows when they do again: there are several
// in a second for each of them, and gossip has said so once.
var absences = []string{"failed to heartbeat to", "failed to appendEntries to", "failed to make requestVote RPC", "failed to make pre-vote",
	"failed to contact", "failed to pipeline", "appendEntries rejected", "failed to get previous log", "failed to decode incoming command",
	"failed to flush response", "rejecting pre-vote request", "peer has newer term"}

// Accept writes one message of Raft's to our log, a level lower.
func (s sink) Accept(_ string, level hclog.Level, message string, args ...any) {
	to := slog.LevelDebug
	if slices.ContainsFunc(absences, func(begin string) bool { return strings.HasPrefix(message, begin) }) {
		level = hclog.Debug
	}
	switch level {
	case hclog.Error:
		to = slog.LevelError
	case hclog.Warn:
		to = slog.LevelInfo
	}
	for i, arg := range args {
		if format, ok := arg.(hclog.Format); ok && len(format) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(format[0]), format[1:]...)
		}
	}
	s.logger.Log(context.Background(), to, "raft: "+message, args...)
}
