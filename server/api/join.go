package api

import (
	"context"
	"strconv"
	"time"

	"github.com/a43e60e4/cluster"
)

// The routes of joining, certificates and keys.
var (
	JoinTokenMake = Route{Method: "PUT", Path: "/v1/operator/join-token", Needs: Trust, Kind: Write, Global: true}
	TrustedList   = Route{Method: "GET", Path: "/v1/operator/members", Needs: ReadAgent, Global: true}
	TrustedRemove = Route{Method: "DELETE", Path: "/v1/operator/member/{node}", Needs: Trust, Kind: Write, Global: true}
	KeyringRead   = Route{Method: "GET", Path: "/v1/operator/gossip/keyring", Needs: ReadAgent, Global: true}
	KeyringRotate = Route{Method: "PUT", Path: "/v1/operator/gossip/keyring/rotate", Needs: Trust, Kind: Write, Global: true}
	NodeAdmit     = Route{Method: "PUT", Path: "/v1/internal/admit", Needs: ActAsServer, Kind: Write, Global: true}
	SelfRenew     = Route{Method: "PUT", Path: "/v1/internal/node/{node}/renew", Needs: ActAsNode, Kind: Write, Global: true}
	SelfSeal      = Route{Method: "PUT", Path: "/v1/internal/node/{node}/seal", Needs: ActAsNode, Kind: Write, Global: true}
	SelfKeyring   = Route{Method: "GET", Path: "/v1/internal/node/{node}/keys", Needs: ActAsNode, Global: true}
)

func joinRoutes() []Route {
	return []Route{JoinTokenMake, TrustedList, TrustedRemove, KeyringRead, KeyringRotate, NodeAdmit, SelfRenew, SelfSeal, SelfKeyring}
}

// RoleAll stands for tokens of all roles where they are made invalid.
const RoleAll = "all"

// JoinTokenRequest asks for a token by which nodes may join, or that tokens are valid no more.
type JoinTokenRequest struct {
	Role   string        // "server" or "client"; RoleAll only with Rotate, and then no token is made
	TTL    time.Duration // how long it is valid; 0: an hour
	Uses   int           // how many nodes may join by it; 0: any number
	Rotate bool          // make all earlier tokens of the role invalid
}

// JoinToken is a token and what is known of it.
type JoinToken struct {
	Token   string // secret; "" if none was to be made
	ID      string
	Role    string
	Expires time.Time
	Uses    int // 0: any number
	Rotated int // how many earlier tokens have become invalid
}

// Trusted is a node that the cluster trusts.
type Trusted struct {
	ID     cluster.ID
	Name   string // as it called itself when it joined
	Role   string // "server" or "client"
	Key    string // SHA-256 of its public key, hex
	Joined time.Time
}

// KeyringView is the gossip's keyring without its secrets.
type KeyringView struct {
	Version  uint64
	Keys     []string     // names of the keys; the first encrypts, all decrypt
	Rotating bool         // a rotation is under way
	Waiting  []cluster.ID // living nodes that the leader does not yet know to hold this version
}

// SelfRenewRequest asks for a new certificate for the key with which the calling node joined.
type SelfRenewRequest struct {
	Key []byte // the public key, DER
}

// SelfRenewResponse is the certificate.
type SelfRenewResponse struct {
	Certificate string // PEM
	Time        int64  // the server's clock, unix nanoseconds
}

// SelfSealRequest gives the leader the key that the calling server seals with, so that it seals the authority's key with it.
type SelfSealRequest struct {
	Key []byte // 32 bytes, secret
}

// SelfKeyringResponse is the gossip's keyring, and the nodes that were removed from the cluster.
type SelfKeyringResponse struct {
	Keyring cluster.Keyring
	Removed []cluster.ID // ascending
}

// MakeJoinToken makes a token by which nodes may join.
func (c *Client) MakeJoinToken(ctx context.Context, req JoinTokenRequest) (*JoinToken, error) {
	var out JoinToken
	_, err := c.Put(ctx, JoinTokenMake.Path, Query{}, req, &out)
	return &out, err
}

// TrustedNodes lists the nodes that the cluster trusts.
func (c *Client) TrustedNodes(ctx context.Context, q Query) ([]Trusted, Meta, error) {
	return read[[]Trusted](ctx, c, TrustedList.Path, q)
}

// RemoveTrusted takes the cluster's trust from a node: it can neither connect nor renew its certificate any more.
func (c *Client) RemoveTrusted(ctx context.Context, node cluster.ID) error {
	_, err := c.Delete(ctx, TrustedRemove.URL(node.String()), Query{}, nil)
	return err
}

// Keyring shows the gossip's keyring.
func (c *Client) Keyring(ctx context.Context) (*KeyringView, error) {
	out, _, err := read[*KeyringView](ctx, c, KeyringRead.Path, Query{})
	return out, err
}

// RotateKeyring begins to replace the key of the gossip.
func (c *Client) RotateKeyring(ctx context.Context) (*KeyringView, error) {
	var out KeyringView
	_, err := c.Put(ctx, KeyringRotate.Path, Query{}, nil, &out)
	return &out, err
}

// RenewSelf gets a new certificate (PEM) for the calling node's public key (DER).
func (c *Client) RenewSelf(ctx context.Context, node cluster.ID, key []byte) ([]byte, error) {
	var out SelfRenewResponse
	_, err := c.Put(ctx, SelfRenew.URL(node.String()), Query{}, SelfRenewRequest{Key: key}, &out)
	return []byte(out.Certificate), err
}

// SealFor has the leader seal the authority's key for the calling server.
func (c *Client) SealFor(ctx context.Context, node cluster.ID, key []byte) error {
	_, err := c.Put(ctx, SelfSeal.URL(node.String()), Query{}, SelfSealRequest{Key: key}, nil)
	return err
}

// OwnKeyring is the gossip's keyring as the calling node should have it; held is the version that it has. It blocks like
// every read with an Index.
func (c *Client) OwnKeyring(ctx context.Context, node cluster.ID, held uint64, q Query) (*SelfKeyringResponse, Meta, error) {
	return read[*SelfKeyringResponse](ctx, c, SelfKeyring.URL(node.String()), q.with("held", strconv.FormatUint(held, 10)))
}
