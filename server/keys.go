package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/state"
)

// metaKeyring is where the state has the gossip's cluster.Keyring.
const metaKeyring = "gossip-keyring"

// keyringInterval is between two looks at who holds a new keyring while one is spread.
const keyringInterval = 250 * time.Millisecond

// holders is which keyring each node said that it holds. It is only the leader's memory: nodes say it with each question.
type holders struct {
	mu   sync.Mutex // guards held
	held map[cluster.ID]uint64
}

func (h *holders) note(node cluster.ID, version uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held == nil {
		h.held = map[cluster.ID]uint64{}
	}
	h.held[node] = version
}

// lacking are those of the nodes that are not known to hold the version or a later one.
func (h *holders) lacking(nodes []cluster.ID, version uint64) []cluster.ID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(nodes), func(id cluster.ID) bool { return h.held[id] >= version })
}

// nextKeyring is what follows the keyring now that these living nodes do not hold it yet; not ok: nothing.
func nextKeyring(ring cluster.Keyring, lacking []cluster.ID) (next cluster.Keyring, ok bool) {
	if len(lacking) > 0 {
		return ring, false
	}
	return ring.Next()
}

// gossiping are the nodes whose gossip must go on while keys change: those that live, as far as gossip knows. Without gossip
// it is this node.
func (s *Server) gossiping() []cluster.ID {
	if s.config.Members == nil {
		return []cluster.ID{s.config.Identity.ID()}
	}
	var ids []cluster.ID
	for _, m := range s.config.Members.Members() {
		if m.State == cluster.MemberAlive && !m.Left {
			ids = append(ids, m.Node)
		}
	}
	slices.SortFunc(ids, cluster.ID.Compare)
	return ids
}

// driveKeys leads a rotation of the gossip's key to its end, whenever one has begun, until ctx ends.
func (s *Server) driveKeys(ctx context.Context) error {
	for ctx.Err() == nil {
		sn := s.Snapshot()
		ring, text, err := fact[cluster.Keyring](sn, metaKeyring)
		if err != nil {
			return err
		}
		if ring == nil || len(ring.Keys) < 2 {
			if _, err := s.store.Wait(ctx, sn.KeyIndex(state.MetaKey(metaKeyring)), state.MetaKey(metaKeyring)); err != nil && ctx.Err() == nil {
				return fmt.Errorf("wait for gossip keys: %w", err)
			}
			continue
		}
		next, ok := nextKeyring(*ring, s.holders.lacking(s.gossiping(), ring.Version))
		if !ok {
			pause(ctx, keyringInterval)
			continue
		}
		if err := s.putKeyring(ctx, text, next); err != nil {
			return fmt.Errorf("rotate gossip keys: %w", err)
		}
		if len(next.Keys) == 1 {
			s.logger.Info("the gossip's key was replaced on all nodes")
		}
	}
	return nil
}

// putKeyring replaces the keyring. That somebody else was faster is no error.
func (s *Server) putKeyring(ctx context.Context, old []byte, next cluster.Keyring) error {
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	_, err = s.Apply(ctx, &state.SwapMeta{At: time.Now().UnixNano(), Swaps: []state.MetaSwap{{Key: metaKeyring, Old: old, New: text}}})
	if cluster.CodeOf(err) == cluster.CodeConflict {
		return nil
	}
	return err
}

// firstKeyring is what the founder's gossip began with, or a new one.
func (s *Server) firstKeyring() cluster.Keyring {
	if ring, err := link.ReadKeyring(s.config.Identity.Dir()); err == nil {
		return ring
	}
	return newKeyring()
}

func newKeyring() cluster.Keyring { return cluster.Keyring{Version: 1, Keys: [][]byte{newGossipKey()}} }

func newGossipKey() []byte {
	key := make([]byte, cluster.KeyringKeySize)
	rand.Read(key)
	return key
}

// rotateKeyring begins a rotation, for the same request once. For the leader.
func (s *Server) rotateKeyring(ctx context.Context, request string) (*api.KeyringView, error) {
	err := s.swap(ctx, swap{time.Now(), request, func(sn *state.Snapshot) ([]state.MetaSwap, error) {
		ring, old, err := fact[cluster.Keyring](sn, metaKeyring)
		if err != nil {
			return nil, err
		}
		if ring == nil {
			return nil, cluster.Errorf(cluster.CodeUnavailable, "rotate gossip keys: the leader has only begun: try again")
		}
		next, ok := ring.Rotate(newGossipKey())
		if !ok {
			return nil, cluster.Errorf(cluster.CodeRejected, "rotate gossip keys: a rotation is under way: `cluster operator gossip keyring list` shows for which nodes it waits")
		}
		text, err := json.Marshal(next)
		if err != nil {
			return nil, fmt.Errorf("rotate gossip keys: %w", err)
		}
		return []state.MetaSwap{{Key: metaKeyring, Old: old, New: text}}, nil
	}})
	if err != nil {
		return nil, err
	}
	return s.keyringView()
}

// keyringView is the keyring as people see it.
func (s *Server) keyringView() (*api.KeyringView, error) {
	ring, _, err := fact[cluster.Keyring](s.Snapshot(), metaKeyring)
	if err != nil {
		return nil, err
	}
	if ring == nil {
		return &api.KeyringView{Keys: []string{}}, nil
	}
	view := &api.KeyringView{Version: ring.Version, Keys: []string{}, Rotating: len(ring.Keys) > 1}
	for _, key := range ring.Keys {
		view.Keys = append(view.Keys, cluster.KeyName(key))
	}
	if view.Rotating {
		view.Waiting = s.holders.lacking(s.gossiping(), ring.Version)
	}
	return view, nil
}

// sealInterval is between two attempts of a server to get the authority's key.
const sealInterval = time.Second

// fetchSeal gets the authority's key from the leader, sealed for this server, and returns when this server has it or ctx
// ends. Any server may lead one day, and must issue certificates then.
func (s *Server) fetchSeal(ctx context.Context) error {
	transport := s.config.Dialer.Transport()
	defer transport.CloseIdleConnections()
	failing := false
	for ctx.Err() == nil {
		if text, err := s.vault.text(); err != nil || text != nil {
			return nil // what is wrong with it keepCertificate says
		}
		err := s.askForSeal(ctx, transport)
		if err != nil && !failing && ctx.Err() == nil {
			s.logger.Debug("the authority's key cannot be had yet", "err", err)
		}
		failing = err != nil
		pause(ctx, sealInterval)
	}
	return nil
}
