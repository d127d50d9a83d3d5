package main

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/link"
)

// nearest chooses among servers the one that answers soonest, and stays with it for a while. It may be used concurrently.
type nearest struct {
	directory *directory
	dialer    *link.Dialer
	last      atomic.Pointer[acquaintance]
}

// acquaintance is a server that answered, and when. It is never modified.
type acquaintance struct {
	server cluster.ID
	at     time.Time
}

// acquainted is for how long a server that answered is taken without another look who does.
const acquainted = time.Minute

// of is one of the servers, zero if none answers. unreached says why of those that were tried in vain.
func (n *nearest) of(ctx context.Context, servers []cluster.ID) (id cluster.ID, unreached map[cluster.ID]error) {
	if last := n.last.Load(); last != nil && time.Since(last.at) < acquainted && slices.Contains(servers, last.server) && n.directory.lives(last.server) {
		return last.server, nil
	}
	id, unreached = n.dialer.First(ctx, servers)
	n.last.Store(&acquaintance{id, time.Now()})
	return id, unreached
}

// avoid makes of look again who answers, if it stayed with that server: it has failed.
func (n *nearest) avoid(id cluster.ID) {
	if last := n.last.Load(); last != nil && last.server == id {
		n.last.CompareAndSwap(last, nil)
	}
}

// another is another server than this one and those, which were asked in vain; zero if none answers.
func (n *nearest) another(ctx context.Context, vain []cluster.ID) cluster.ID {
	for _, id := range vain {
		n.avoid(id)
	}
	others := slices.DeleteFunc(n.directory.OtherServers(), func(id cluster.ID) bool { return slices.Contains(vain, id) })
	if len(others) == 0 {
		return cluster.ID{}
	}
	id, _ := n.of(ctx, others)
	return id
}
