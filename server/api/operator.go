package api

import (
	"cmp"
	"context"
	"time"

	"github.com/a43e60e4/cluster"
)

// The routes of operating the servers themselves.
var (
	RaftConfiguration = Route{Method: "GET", Path: "/v1/operator/raft/configuration", Needs: ReadAgent, Global: true}
	RaftPeerRemove    = Route{Method: "DELETE", Path: "/v1/operator/raft/peer", Needs: Trust, Kind: Write, Global: true}
	RaftTransfer      = Route{Method: "PUT", Path: "/v1/operator/raft/transfer-leadership", Needs: Trust, Kind: Write, Global: true}
	RecoverBegin      = Route{Method: "PUT", Path: "/v1/operator/recovery", Needs: Trust, Kind: Local, Global: true}
	AgentCluster      = Route{Method: "GET", Path: "/v1/agent/cluster", Needs: ReadAgent, Kind: Local, Global: true}
	AgentLeave        = Route{Method: "PUT", Path: "/v1/agent/leave", Needs: Trust, Kind: Local, Global: true}
)

func operatorRoutes() []Route {
	return []Route{RaftConfiguration, RaftPeerRemove, RaftTransfer, RecoverBegin, AgentCluster, AgentLeave}
}

// RaftServers are the servers that have the log.
type RaftServers struct {
	Servers []RaftServer
	Index   uint64 // of the change that made it so
}

// RaftServer is a server that has the log.
type RaftServer struct {
	ID           cluster.ID
	Node         string // its name
	Address      string
	Leader       bool
	Voter        bool
	RaftProtocol string
}

// TransferResponse says who gave leadership to whom.
type TransferResponse struct {
	From RaftTarget
	To   RaftTarget
	Noop bool // it leads already
	Err  *string
}

// RaftTarget is a server as Raft has it.
type RaftTarget struct{ ID, Address string }

// ClusterView is the cluster as one agent sees it, also with no leader and no server: what gossip says, and what the servers
// that it reaches say themselves.
type ClusterView struct {
	Node       cluster.ID // of the agent that answers
	Name       string
	Server     bool // it is one
	Leader     cluster.ID
	Epoch      uint64       // the newest that is known
	Servers    []ServerView // in the order of their names
	Nodes      int          // that gossip knows, but for those that left
	NodesAlive int
	Conflicts  []string // claims of one node ID by two machines that were seen since the agent's start, in words
	Namesakes  []string // nodes that live under one name, in words
}

// ServerView is a server as an agent sees it.
type ServerView struct {
	ID       cluster.ID
	Name     string
	Address  string // of port 4647, now or last
	Status   string // alive, failed or left, by gossip; unknown if that has not met it
	Since    time.Time
	Version  string
	Restarts bool  // it said that it would be back soon
	Copy     *Copy // its copy of the state; nil if it does not answer
	Err      string
}

// Copy is one server's copy of the state.
type Copy struct {
	Epoch     uint64
	LastIndex uint64    // of its newest entry
	LastTerm  uint64    // in which that was written
	LastAt    time.Time // when; zero if that is not known
	Heard     time.Time // when it heard of a leader last; zero: not since its start
	Leader    cluster.ID
	Voters    []cluster.ID
	Outdated  bool // it knows of a newer epoch and answers nothing
}

// Compare orders copies by what they hold: negative if k is older than o.
func (k *Copy) Compare(o *Copy) int {
	return cmp.Or(cmp.Compare(k.Epoch, o.Epoch), cmp.Compare(k.LastTerm, o.LastTerm), cmp.Compare(k.LastIndex, o.LastIndex))
}

// RecoverRequest asks to re-form the cluster from the copy of one server.
type RecoverRequest struct {
	Server cluster.ID // whose copy: it alone decides afterwards
	Older  bool       // though there is a newer copy
}

// RecoverResponse says what was begun.
type RecoverResponse struct {
	Server cluster.ID
	Epoch  uint64
}

// LeaveRequest asks an agent to leave the cluster for good.
type LeaveRequest struct {
	Check bool // only say whether it may
	Force bool // though it is the last server, or nobody takes note of it
}

// RaftConfiguration lists the servers that have the log.
func (c *Client) RaftConfiguration(ctx context.Context, q Query) (*RaftServers, error) {
	out, _, err := read[*RaftServers](ctx, c, RaftConfiguration.Path, q)
	return out, err
}

// RemoveRaftPeer takes its seat from a server.
func (c *Client) RemoveRaftPeer(ctx context.Context, id cluster.ID) error {
	_, err := c.Delete(ctx, RaftPeerRemove.Path, Query{}.with("id", id.String()), nil)
	return err
}

// TransferLeadership has another server lead; "" leaves the choice to the leader.
func (c *Client) TransferLeadership(ctx context.Context, id string) (*TransferResponse, error) {
	q := Query{}
	if id != "" {
		q = q.with("id", id)
	}
	var out TransferResponse
	_, err := c.Put(ctx, RaftTransfer.Path, q, nil, &out)
	return &out, err
}

// ClusterView is the cluster as the agent sees it. It needs no server.
func (c *Client) ClusterView(ctx context.Context) (*ClusterView, error) {
	out, _, err := read[*ClusterView](ctx, c, AgentCluster.Path, Query{})
	return out, err
}

// Recover re-forms the cluster from the copy of one server. That one begins anew; the answer comes before.
func (c *Client) Recover(ctx context.Context, req RecoverRequest) (*RecoverResponse, error) {
	var out RecoverResponse
	_, err := c.Put(ctx, RecoverBegin.Path, Query{}, req, &out)
	return &out, err
}

// Leave has the agent leave the cluster for good. The answer comes when that is decided and before the agent ends.
func (c *Client) Leave(ctx context.Context, req LeaveRequest) error {
	_, err := c.Put(ctx, AgentLeave.Path, Query{}, req, nil)
	return err
}
