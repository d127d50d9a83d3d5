package server

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/raft"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/pki"
	"github.com/a43e60e4/cluster/server/state"
)

// The keys of facts about trust in the state.
const (
	metaToken   = "join-token/" // + tokenRecord.ID
	metaMember  = "member/"     // + memberRecord.ID
	metaRemoved = "removed"     // []cluster.ID, ascending: nodes that were members and are none any more
)

const (
	tokenTTL        = time.Hour
	longestTokenTTL = 365 * 24 * time.Hour
	// tokenMemory is how long an expired token is remembered, so that who uses it is told why it is of no use.
	tokenMemory = 7 * 24 * time.Hour
	maxTokens   = 1000
	maxNodeName = 128
	// swapAttempts is how often a decision is made anew because others changed the same facts meanwhile.
	swapAttempts = 20
)

// tokenRecord is a join token as the state keeps it: without its secret.
type tokenRecord struct {
	ID      string // link.Token.Name
	Role    pki.Role
	Hash    []byte // SHA-256 of the secret
	Made    int64  // unix nanoseconds
	Expires int64
	Limited bool
	Uses    int   // left, if limited
	Rotated int64 // when it was made invalid, 0 if it was not
	// MadeBy and RotatedBy are the IDs of the requests that did that, "" where they had none.
	MadeBy    string `json:",omitempty"`
	RotatedBy string `json:",omitempty"`
}

// memberRecord is a node that the cluster trusts.
type memberRecord struct {
	ID     cluster.ID
	Name   string
	Role   pki.Role
	Key    []byte // SHA-256 of its public key
	Joined int64  // unix nanoseconds
	Token  string // by which it joined, "" for the founder
}

// admission is a node that wants to join, as the server that it asked passes it on.
type admission struct {
	Node  cluster.ID
	Name  string
	Role  pki.Role
	Token string // link.Token.Name
	Hash  []byte // SHA-256 of the secret that it showed
	Key   []byte // its public key, DER; it has proven that it has the private one
}

func (a *admission) check() error {
	switch {
	case a.Node.IsZero():
		return cluster.Errorf(cluster.CodeInvalid, "join: the node names no ID of its own")
	case a.Name == "" || len(a.Name) > maxNodeName || strings.ContainsFunc(a.Name, unicode.IsControl):
		return cluster.Errorf(cluster.CodeInvalid, "join: a node's name has 1 to %d bytes and no control characters: choose another with -name", maxNodeName)
	case a.Role != pki.RoleServer && a.Role != pki.RoleClient:
		return cluster.Errorf(cluster.CodeInvalid, "join: a node is a server or a client, not %.20q", a.Role)
	}
	return nil
}

// joinFacts are what the state knows that matters for one admission.
type joinFacts struct {
	token       *tokenRecord
	member      *memberRecord
	tokenText   []byte // as stored
	memberText  []byte
	removedText []byte
	removed     []cluster.ID
}

// errToken refuses a token. Role is the one that a better token should have.
func errToken(role pki.Role, why string) error {
	return cluster.Errorf(cluster.CodeForbidden, "%s: make a new one on a server with `cluster join-token %s`", why, role)
}

// decideJoin is what admitting the node changes in the state, or why it is refused.
func decideJoin(f joinFacts, a *admission, now time.Time) ([]state.MetaSwap, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	t := f.token
	switch {
	case t == nil:
		return nil, errToken(a.Role, "the token is not known to this cluster (if it was, it expired long ago)")
	case !bytes.Equal(t.Hash, a.Hash):
		return nil, errToken(a.Role, "the token's secret is wrong")
	case t.Rotated != 0:
		return nil, errToken(a.Role, "the token was made invalid at "+moment(t.Rotated))
	case t.Role != a.Role:
		return nil, errToken(a.Role, fmt.Sprintf("the token lets a node join as %s, and this one wants to be a %s", t.Role, a.Role))
	}
	key := sha256.Sum256(a.Key)
	if m := f.member; m != nil && !bytes.Equal(m.Key, key[:]) {
		return nil, cluster.Errorf(cluster.CodeConflict, "node ID %s is taken: node %q joined with it at %s, with another key: if this data directory was copied "+
			"from that node, move it away to begin as a new one; if that node is gone for good, run `cluster operator member remove %s` on a server first",
			a.Node, m.Name, moment(m.Joined), a.Node)
	} else if m != nil && m.Role == a.Role && m.Token == t.ID {
		return nil, nil // the answer to its first request was lost
	}
	switch {
	case now.UnixNano() >= t.Expires:
		return nil, errToken(a.Role, "the token expired at "+moment(t.Expires))
	case t.Limited && t.Uses == 0:
		return nil, errToken(a.Role, "the token has been used as often as it allows")
	}
	return admit(f, a, now, key[:])
}

// admit is how the state changes when the node becomes a member.
func admit(f joinFacts, a *admission, now time.Time, key []byte) ([]state.MetaSwap, error) {
	member, err := json.Marshal(memberRecord{ID: a.Node, Name: a.Name, Role: a.Role, Key: key, Joined: now.UnixNano(), Token: a.Token})
	if err != nil {
		return nil, fmt.Errorf("write member: %w", err)
	}
	swaps := []state.MetaSwap{{Key: metaMember + a.Node.String(), Old: f.memberText, New: member}}
	token := *f.token
	if token.Limited {
		token.Uses--
	}
	// An unlimited one stands among the swaps too: it must not have been rotated meanwhile.
	text, err := json.Marshal(token)
	if err != nil {
		return nil, fmt.Errorf("write join token: %w", err)
	}
	swaps = append(swaps, state.MetaSwap{Key: metaToken + token.ID, Old: f.tokenText, New: text})
	if i, gone := slices.BinarySearchFunc(f.removed, a.Node, cluster.ID.Compare); gone {
		swaps = append(swaps, removedSwap(f.removedText, slices.Delete(slices.Clone(f.removed), i, i+1)))
	}
	return swaps, nil
}

func removedSwap(old []byte, removed []cluster.ID) state.MetaSwap {
	text, err := json.Marshal(removed)
	if err != nil || len(removed) == 0 {
		text = nil // IDs are always written
	}
	return state.MetaSwap{Key: metaRemoved, Old: old, New: text}
}

func moment(nanoseconds int64) string { return time.Unix(0, nanoseconds).UTC().Format(time.RFC3339) }

// fact reads a fact of the state; nil if it is not there.
func fact[T any](sn *state.Snapshot, key string) (*T, []byte, error) {
	text := sn.Meta(key)
	if text == nil {
		return nil, nil, nil
	}
	value := new(T)
	if err := json.Unmarshal(text, value); err != nil {
		return nil, nil, fmt.Errorf("read %q of the state: %w", key, err)
	}
	return value, text, nil
}

// removedNodes are the nodes that were removed, ascending.
func removedNodes(sn *state.Snapshot) ([]cluster.ID, []byte, error) {
	ids, text, err := fact[[]cluster.ID](sn, metaRemoved)
	if ids == nil || err != nil {
		return nil, nil, err
	}
	return *ids, text, nil
}

func joinFactsOf(sn *state.Snapshot, a *admission) (f joinFacts, err error) {
	if f.token, f.tokenText, err = fact[tokenRecord](sn, metaToken+a.Token); err != nil {
		return f, err
	}
	if f.member, f.memberText, err = fact[memberRecord](sn, metaMember+a.Node.String()); err != nil {
		return f, err
	}
	f.removed, f.removedText, err = removedNodes(sn)
	return f, err
}

// swap is what changes facts about trust at a moment: for the request of that ID, if it has one, only once.
type swap struct {
	now     time.Time
	request string
	// decide says on a state what is to change; nothing, if nothing is.
	decide func(*state.Snapshot) ([]state.MetaSwap, error)
}

// swap decides on the newest state and stores the decision, again and again while others are faster.
func (s *Server) swap(ctx context.Context, c swap) error {
	for attempt := 1; ; attempt++ {
		sn := s.Snapshot()
		if _, done := sn.Answered(c.request, c.now.UnixNano()); done {
			return nil
		}
		swaps, err := c.decide(sn)
		if err != nil || len(swaps) == 0 {
			return err
		}
		_, err = s.Apply(ctx, &state.SwapMeta{At: c.now.UnixNano(), RequestID: c.request, Swaps: swaps})
		if err == nil || cluster.CodeOf(err) != cluster.CodeConflict {
			return err
		}
		if attempt == swapAttempts {
			return cluster.Errorf(cluster.CodeUnavailable, "too many others change the same: %w", err)
		}
	}
}

// admit makes a node a member. For the leader.
func (s *Server) admit(ctx context.Context, a *admission) (*link.JoinAnswer, error) {
	public, err := pki.ParsePublic(a.Key)
	if err != nil {
		return nil, cluster.Errorf(cluster.CodeInvalid, "join: %w", err)
	}
	authority, err := s.openVault()
	if err != nil {
		return nil, err
	}
	ring, _, err := fact[cluster.Keyring](s.Snapshot(), metaKeyring)
	if err == nil && ring == nil {
		err = cluster.Errorf(cluster.CodeUnavailable, "join: the leader has only begun: try again")
	}
	if err != nil {
		return nil, err
	}
	now := time.Now()
	err = s.swap(ctx, swap{now: now, decide: func(sn *state.Snapshot) ([]state.MetaSwap, error) {
		f, err := joinFactsOf(sn, a)
		if err != nil {
			return nil, err
		}
		return decideJoin(f, a, now)
	}})
	if err != nil {
		return nil, err
	}
	certificate, err := authority.Issue(a.Node, a.Role, public, now)
	if err != nil {
		return nil, err
	}
	s.logger.Info("node joined as "+string(a.Role), "node", a.Node)
	return &link.JoinAnswer{Certificate: string(certificate), Authority: string(authority.PEM()), Servers: s.serverAddresses(), Keyring: *ring, Time: now.UnixNano()}, nil
}

// openVault is the authority; CodeUnavailable while this server does not have its key.
func (s *Server) openVault() (*pki.Authority, error) {
	authority, err := s.vault.open()
	if err != nil {
		return nil, cluster.Errorf(cluster.CodeUnavailable, "the leader cannot issue certificates: %w", err)
	}
	return authority, nil
}

// serverAddresses are where the servers are reached; those that gossip has as alive come first.
func (s *Server) serverAddresses() []link.ServerAddress {
	var living, others []link.ServerAddress
	members := s.membersByID()
	configuration := s.replica.raft.GetConfiguration()
	if configuration.Error() != nil {
		return nil
	}
	for _, server := range configuration.Configuration().Servers {
		id, err := cluster.ParseID(string(server.ID))
		if err != nil {
			continue
		}
		at := link.ServerAddress{ID: id, Address: s.addressOf(id, string(server.Address))}
		if s.config.Gossip != nil {
			at.Gossip = s.config.Gossip(id)
		}
		if id == s.config.Identity.ID() || members[id].State == cluster.MemberAlive {
			living = append(living, at)
		} else if server.Suffrage == raft.Voter {
			others = append(others, at)
		}
	}
	return append(living, others...)
}

// Removed reports whether the node was removed from the cluster. It is for link.PortConfig.
func (s *Server) Removed(id cluster.ID) bool {
	removed, _, err := removedNodes(s.Snapshot())
	_, found := slices.BinarySearchFunc(removed, id, cluster.ID.Compare)
	return err == nil && found
}

// checkTrusted refuses a node that was removed from the cluster. It may have connections of before.
func checkTrusted(sn *state.Snapshot, node cluster.ID) error {
	if sn.Meta(metaRemoved) == nil || node.IsZero() {
		return nil
	}
	removed, _, err := removedNodes(sn)
	if _, found := slices.BinarySearchFunc(removed, node, cluster.ID.Compare); err != nil || !found {
		return err
	}
	return cluster.Errorf(cluster.CodeForbidden, "node %s was removed from the cluster: to come back it joins anew with a token, on an empty data directory", node)
}

// makeToken makes a token, makes others invalid, or both. The same request again has the same answer, from another leader too. For
// the leader.
func (s *Server) makeToken(ctx context.Context, request string, r api.JoinTokenRequest) (*api.JoinToken, error) {
	if r.TTL == 0 {
		r.TTL = tokenTTL
	}
	role := pki.Role(r.Role)
	switch {
	case role != pki.RoleServer && role != pki.RoleClient && !(r.Rotate && r.Role == api.RoleAll):
		return nil, cluster.Errorf(cluster.CodeInvalid, "make join token: its role is %.20q: want server or client (or all, to make all tokens invalid with -rotate)", r.Role)
	case r.TTL < time.Second || r.TTL > longestTokenTTL:
		return nil, cluster.Errorf(cluster.CodeInvalid, "make join token: it is to be valid for %s: want 1s to %s", r.TTL, longestTokenTTL)
	case r.Uses < 0 || r.Uses > 1_000_000:
		return nil, cluster.Errorf(cluster.CodeInvalid, "make join token: it is to have %d uses: want 1 to 1000000, or 0 for any number", r.Uses)
	}
	authority, err := s.openVault()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	request = cmp.Or(request, rand.Text())
	err = s.swap(ctx, swap{now, request, func(sn *state.Snapshot) ([]state.MetaSwap, error) {
		swaps, err := changeTokens(sn, request, r, now)
		if err != nil || r.Role == api.RoleAll {
			return swaps, err
		}
		var id [8]byte
		rand.Read(id[:])
		token := link.Token{ID: id}
		if token.Secret, err = tokenSecret(authority, id); err != nil {
			return nil, err
		}
		hash := sha256.Sum256(token.Secret[:])
		text, err := json.Marshal(tokenRecord{ID: token.Name(), Role: role, Hash: hash[:], Made: now.UnixNano(), MadeBy: request,
			Expires: now.Add(r.TTL).Truncate(time.Second).UnixNano(), Limited: r.Uses > 0, Uses: r.Uses})
		return append(swaps, state.MetaSwap{Key: metaToken + token.Name(), New: text}), err
	}})
	if err != nil {
		return nil, err
	}
	return s.madeToken(authority, request, r, now)
}

// tokenSecret is the secret of the token of that ID. It follows from the authority's key, so that every leader can say it again
// and no state has it.
func tokenSecret(authority *pki.Authority, id [8]byte) (secret [16]byte, err error) {
	derived, err := authority.Derive("cluster join token "+hex.EncodeToString(id[:]), len(secret))
	copy(secret[:], derived)
	return secret, err
}

// madeToken is the answer to the request that made or rotated tokens, from the state.
func (s *Server) madeToken(authority *pki.Authority, request string, r api.JoinTokenRequest, now time.Time) (*api.JoinToken, error) {
	out := &api.JoinToken{Role: r.Role}
	recent := func(at int64) bool { return now.UnixNano()-at < state.RequestWindow }
	var made *tokenRecord
	for key, text := range s.Snapshot().Metas(metaToken) {
		var t tokenRecord
		if err := json.Unmarshal(text, &t); err != nil {
			return nil, fmt.Errorf("read %q of the state: %w", key, err)
		}
		if t.RotatedBy == request && recent(t.Rotated) && t.Rotated < t.Expires {
			out.Rotated++
		}
		if t.MadeBy == request && recent(t.Made) {
			made = &t
		}
	}
	switch {
	case made != nil:
		return out, s.fillToken(out, authority, made, r.Uses)
	case r.Role != api.RoleAll:
		return nil, cluster.Errorf(cluster.CodeConflict, "make join token: this request made one before, which is not valid any more: choose another %s", api.HeaderRequestID)
	}
	return out, nil
}

// fillToken writes the token of the record into the answer.
func (s *Server) fillToken(out *api.JoinToken, authority *pki.Authority, t *tokenRecord, uses int) error {
	token := link.Token{Role: t.Role, Authority: pki.Fingerprint(authority.Certificate), Expires: time.Unix(0, t.Expires).UTC()}
	id, err := hex.DecodeString(t.ID)
	if err != nil || copy(token.ID[:], id) != len(token.ID) {
		return fmt.Errorf("read join token %.40q of the state: it has no ID", t.ID)
	}
	if token.Secret, err = tokenSecret(authority, token.ID); err != nil {
		return err
	}
	for _, server := range s.serverAddresses() {
		token.Addresses = append(token.Addresses, server.Address)
	}
	out.Token, out.ID, out.Role, out.Expires, out.Uses = token.Text(), token.Name(), string(t.Role), token.Expires, uses
	return nil
}

// changeTokens forgets tokens that are long over and makes others invalid if that is asked for.
func changeTokens(sn *state.Snapshot, request string, r api.JoinTokenRequest, now time.Time) (swaps []state.MetaSwap, err error) {
	kept := 0
	for key, text := range sn.Metas(metaToken) {
		var t tokenRecord
		if err := json.Unmarshal(text, &t); err != nil {
			return nil, fmt.Errorf("read %q of the state: %w", key, err)
		}
		if now.Sub(time.Unix(0, t.Expires)) > tokenMemory {
			swaps = append(swaps, state.MetaSwap{Key: key, Old: text})
			continue
		}
		kept++
		if !r.Rotate || t.Rotated != 0 || r.Role != api.RoleAll && t.Role != pki.Role(r.Role) {
			continue
		}
		t.Rotated, t.RotatedBy = now.UnixNano(), request
		next, err := json.Marshal(t)
		if err != nil {
			return nil, fmt.Errorf("write join token: %w", err)
		}
		swaps = append(swaps, state.MetaSwap{Key: key, Old: text, New: next})
	}
	if kept >= maxTokens && !r.Rotate {
		return nil, cluster.Errorf(cluster.CodeRejected, "make join token: there are %d, more than anybody oversees: make one with many -uses, or the old ones invalid with -rotate", kept)
	}
	return swaps, nil
}

// renew issues a new certificate for a member's key, which must be the one that it joined with. For the leader.
func (s *Server) renew(node cluster.ID, key []byte) (*api.SelfRenewResponse, error) {
	member, err := s.member(node)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(key)
	if !bytes.Equal(member.Key, sum[:]) {
		return nil, cluster.Errorf(cluster.CodeForbidden, "node %s joined the cluster with another key", node)
	}
	public, err := pki.ParsePublic(key)
	if err != nil {
		return nil, cluster.Errorf(cluster.CodeInvalid, "%w", err)
	}
	authority, err := s.openVault()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	certificate, err := authority.Issue(node, member.Role, public, now)
	if err != nil {
		return nil, err
	}
	return &api.SelfRenewResponse{Certificate: string(certificate), Time: now.UnixNano()}, nil
}

// member is the node's record; CodeForbidden if it is no member.
func (s *Server) member(node cluster.ID) (*memberRecord, error) {
	if err := checkTrusted(s.Snapshot(), node); err != nil {
		return nil, err
	}
	member, _, err := fact[memberRecord](s.Snapshot(), metaMember+node.String())
	if err == nil && member == nil {
		err = cluster.Errorf(cluster.CodeForbidden, "node %s is no member of the cluster: it joins with a token", node)
	}
	return member, err
}

// sealFor stores the authority's key sealed with a server's own. For the leader.
func (s *Server) sealFor(ctx context.Context, node cluster.ID, key []byte) error {
	member, err := s.member(node)
	if err != nil {
		return err
	}
	if member.Role != pki.RoleServer {
		return cluster.Errorf(cluster.CodeForbidden, "node %s is no server: it issues no certificates", node)
	}
	if len(key) != sealSize {
		return cluster.Errorf(cluster.CodeInvalid, "a seal has %d bytes, not %d", sealSize, len(key))
	}
	authority, err := s.openVault()
	if err != nil {
		return err
	}
	at := metaSealedBy + node.String()
	if sealed := s.Snapshot().Meta(at); sealed != nil {
		if _, err := pki.Unseal(authority.PEM(), sealed, key); err == nil {
			return nil
		}
	}
	sealed, err := authority.Seal(key)
	if err != nil {
		return err
	}
	_, err = s.Apply(ctx, &state.SetMeta{At: time.Now().UnixNano(), Key: at, Value: sealed})
	return err
}

// removeMember takes the cluster's trust from a node: it can neither connect nor renew its certificate any more. What the
// node ran and its seat among the servers are for others to clear. For the leader.
func (s *Server) removeMember(ctx context.Context, request string, node cluster.ID) error {
	return s.swap(ctx, swap{time.Now(), request, func(sn *state.Snapshot) ([]state.MetaSwap, error) {
		member, text, err := fact[memberRecord](sn, metaMember+node.String())
		if err != nil {
			return nil, err
		}
		if member == nil {
			return nil, cluster.Errorf(cluster.CodeNotFound, "remove node %s: it is no member of the cluster", node)
		}
		if node == s.config.Identity.ID() {
			return nil, cluster.Errorf(cluster.CodeRejected, "remove node %s: it leads the cluster: let it leave with `cluster leave` there, or stop it first", node)
		}
		removed, removedText, err := removedNodes(sn)
		if err != nil {
			return nil, err
		}
		swaps := []state.MetaSwap{{Key: metaMember + node.String(), Old: text}}
		if i, found := slices.BinarySearchFunc(removed, node, cluster.ID.Compare); !found {
			swaps = append(swaps, removedSwap(removedText, slices.Insert(slices.Clone(removed), i, node)))
		}
		if at := metaSealedBy + node.String(); sn.Meta(at) != nil {
			swaps = append(swaps, state.MetaSwap{Key: at, Old: sn.Meta(at)})
		}
		return swaps, nil
	}})
}

// listTrusted are the members as people see them.
func listTrusted(sn *state.Snapshot) ([]api.Trusted, error) {
	list := []api.Trusted{}
	for key, text := range sn.Metas(metaMember) {
		var m memberRecord
		if err := json.Unmarshal(text, &m); err != nil {
			return nil, fmt.Errorf("read %q of the state: %w", key, err)
		}
		list = append(list, api.Trusted{ID: m.ID, Name: m.Name, Role: string(m.Role), Key: hex.EncodeToString(m.Key), Joined: time.Unix(0, m.Joined).UTC()})
	}
	return list, nil
}

// establishTrust stores what joining needs: that this server is a member, and the first gossip key.
func (s *Server) establishTrust(ctx context.Context) error {
	identity, now := s.config.Identity, time.Now()
	key, err := identity.PublicDER()
	if err != nil {
		return fmt.Errorf("write member: %w", err)
	}
	sum := sha256.Sum256(key)
	return s.swap(ctx, swap{now: now, decide: func(sn *state.Snapshot) (swaps []state.MetaSwap, err error) {
		if at := metaMember + identity.ID().String(); sn.Meta(at) == nil {
			text, err := json.Marshal(memberRecord{ID: identity.ID(), Name: s.config.Name, Role: identity.Role(), Key: sum[:], Joined: now.UnixNano()})
			if err != nil {
				return nil, fmt.Errorf("write member: %w", err)
			}
			swaps = append(swaps, state.MetaSwap{Key: at, New: text})
		}
		if sn.Meta(metaKeyring) == nil {
			text, err := json.Marshal(s.firstKeyring())
			if err != nil {
				return nil, fmt.Errorf("write gossip keys: %w", err)
			}
			swaps = append(swaps, state.MetaSwap{Key: metaKeyring, New: text})
		}
		return swaps, nil
	}})
}
