package server

import (
	"context"
	"net/http"
	"strconv"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/state"
)

// truster is what the leader does about who belongs to the cluster. A core may be one.
type truster interface {
	admit(context.Context, *admission) (*link.JoinAnswer, error)
	makeToken(ctx context.Context, request string, r api.JoinTokenRequest) (*api.JoinToken, error)
	renew(node cluster.ID, key []byte) (*api.SelfRenewResponse, error)
	sealFor(ctx context.Context, node cluster.ID, key []byte) error
	removeMember(ctx context.Context, request string, node cluster.ID) error
	keyrings
}

// keyrings is what the leader does about the keys of the gossip.
type keyrings interface {
	rotateKeyring(ctx context.Context, request string) (*api.KeyringView, error)
	keyringView() (*api.KeyringView, error)
	// holds is told which keyring a node says that it has.
	holds(node cluster.ID, version uint64)
}

func (s *Server) holds(node cluster.ID, version uint64) { s.holders.note(node, version) }

func (h *apiHandler) joinEndpoints() map[api.Route]endpoint {
	t, able := h.Core.(truster)
	if !able {
		return nil
	}
	return map[api.Route]endpoint{
		api.NodeAdmit: {write: func(r *request) (written, error) {
			var a admission
			if err := r.decode("admission", &a); err != nil {
				return written{}, err
			}
			return wrote(t.admit(r.Context(), &a))
		}},
		api.JoinTokenMake: {write: func(r *request) (written, error) {
			var req api.JoinTokenRequest
			if err := r.decode("join token", &req); err != nil {
				return written{}, err
			}
			return wrote(t.makeToken(r.Context(), r.requestID(), req))
		}},
		api.SelfRenew: {write: func(r *request) (written, error) {
			var req api.SelfRenewRequest
			if err := r.decode("renewal", &req); err != nil {
				return written{}, err
			}
			return wrote(t.renew(r.caller.Node, req.Key))
		}},
		api.SelfSeal: {write: func(r *request) (written, error) {
			var req api.SelfSealRequest
			if err := r.decode("seal", &req); err != nil {
				return written{}, err
			}
			return written{}, t.sealFor(r.Context(), r.caller.Node, req.Key)
		}},
		api.TrustedRemove: {write: func(r *request) (written, error) {
			id, err := r.id("member")
			if err != nil {
				return written{}, err
			}
			return written{}, t.removeMember(r.Context(), r.requestID(), id)
		}},
		api.TrustedList: {read: func(_ *request, sn *state.Snapshot) (reading, error) {
			return reading{[]state.Key{state.TableKey(state.Meta)}, func(api.Meta) (any, error) { return listTrusted(sn) }}, nil
		}},
		api.KeyringRead: {read: func(*request, *state.Snapshot) (reading, error) {
			return reading{[]state.Key{state.MetaKey(metaKeyring)}, func(api.Meta) (any, error) { return t.keyringView() }}, nil
		}},
		api.KeyringRotate: {write: func(r *request) (written, error) { return wrote(t.rotateKeyring(r.Context(), r.requestID())) }},
		api.SelfKeyring:   {read: func(r *request, sn *state.Snapshot) (reading, error) { return readOwnKeyring(t, r, sn) }},
	}
}

// wrote is the answer of a write whose index nobody needs.
func wrote[T any](value *T, err error) (written, error) { return written{value: value}, err }

// readOwnKeyring also hears which keyring the node has.
func readOwnKeyring(k keyrings, r *request, sn *state.Snapshot) (reading, error) {
	if text := r.query.Get("held"); text != "" {
		held, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return reading{}, cluster.Errorf(cluster.CodeInvalid, "read held %.40q: want the version of a keyring", text)
		}
		k.holds(r.caller.Node, held)
	}
	return reading{[]state.Key{state.MetaKey(metaKeyring), state.MetaKey(metaRemoved)}, func(api.Meta) (any, error) {
		ring, _, err := fact[cluster.Keyring](sn, metaKeyring)
		if err != nil {
			return nil, err
		}
		if ring == nil {
			return nil, cluster.Errorf(cluster.CodeUnavailable, "read gossip keys: the leader has only begun: try again")
		}
		removed, _, err := removedNodes(sn)
		return api.SelfKeyringResponse{Keyring: *ring, Removed: orEmpty(removed)}, err
	}}, nil
}

// askForSeal gives the leader this server's seal.
func (s *Server) askForSeal(ctx context.Context, transport http.RoundTripper) error {
	leader := s.Leadership()
	if leader.ID.IsZero() || leader.Self {
		return errNoAuthority
	}
	seal, err := s.vault.seal()
	if err != nil {
		return err
	}
	client, err := api.New(api.Config{Address: link.URL(leader.ID), HTTP: &http.Client{Transport: transport}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	return client.SealFor(ctx, s.config.Identity.ID(), seal)
}
