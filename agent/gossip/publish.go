package gossip

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/a43e60e4/cluster"
)

// maxBroadcasts is how many parts of one publication are broadcast; if more changed, it is announced and fetched, which
// is cheaper for all.
const maxBroadcasts = 16

// broadcast is a message that waits to be sent often enough.
type broadcast struct {
	name string // a newer one of the same name takes its place
	body []byte
	sent chan struct{} // closed when it is finished, sent or replaced
}

func (b *broadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(*broadcast)
	return ok && o.name == b.name
}
func (b *broadcast) Name() string    { return b.name }
func (b *broadcast) Message() []byte { return b.body }
func (b *broadcast) Finished()       { close(b.sent) }

// send queues a part as a broadcast, or word of it if it is too large or brief is set.
func (g *Gossip) send(p part, brief bool) *broadcast {
	b := &broadcast{sent: make(chan struct{})}
	if !brief && p.body != nil {
		b.body = encodePart(p)
	}
	b.name = string(p.node[:]) + string([]byte{byte(p.index >> 8), byte(p.index)})
	if b.body == nil || len(b.body) > maxPacket {
		b.body = encodeAnnounce(p, g.config.ID)
		b.name = string(p.node[:])
	}
	g.queue.QueueBroadcast(b)
	if g.queue.NumQueued() > maxQueued {
		g.queue.Prune(maxQueued)
	}
	return b
}

// Publish replaces what this node says of itself. Only parts that differ from the last publication travel. Parts up to
// Inline bytes travel at once, larger ones (64 KiB at most) are fetched by the others. The slices are copied.
func (g *Gossip) Publish(parts [][]byte) error {
	if len(parts) > maxParts-1 {
		return fmt.Errorf("publish record: %d parts, at most %d are allowed", len(parts), maxParts-1)
	}
	size := 0
	for i, p := range parts {
		if size += len(p); len(p) > maxBody {
			return fmt.Errorf("publish record: part %d has %d bytes, at most %d are allowed", i, len(p), maxBody)
		}
	}
	if size > maxRecord {
		return fmt.Errorf("publish record: %d bytes, at most %d are allowed", size, maxRecord)
	}
	g.publish.Lock()
	defer g.publish.Unlock()
	if g.left {
		return errors.New("publish record: this node has left")
	}
	return g.say(publication{bodies: parts}, false)
}

// renew publishes the last publication again if the certificate changed, or with again all of it under a new version.
func (g *Gossip) renew(again bool) error {
	g.publish.Lock()
	defer g.publish.Unlock()
	g.mu.Lock()
	e := g.members[g.config.ID]
	var last record
	if e != nil {
		last = e.rec
	}
	g.mu.Unlock()
	head, ok := last.head()
	if !ok {
		return nil
	}
	return g.say(publication{bodies: last.bodies(), left: head.left}, again)
}

// say publishes. The publish lock is held.
func (g *Gossip) say(p publication, again bool) error {
	p.certificate = g.config.Certificate()
	if len(p.certificate) == 0 || len(p.certificate) > maxBody {
		return fmt.Errorf("publish record: the certificate has %d bytes", len(p.certificate))
	}
	for {
		g.mu.Lock()
		var old []part
		if e := g.members[g.config.ID]; e != nil {
			old = e.rec.base
		}
		edition := g.edition + 1
		g.mu.Unlock()
		was := old
		if again {
			was = nil
		}
		all := p.next(was, part{node: g.config.ID, version: version{g.config.Registration, edition}})
		if all == nil {
			return nil
		}
		fresh, err := g.sign(all)
		if err != nil {
			return fmt.Errorf("publish record: %w", err)
		}
		if g.install(all, edition) {
			g.broadcast(all, fresh)
			return nil
		}
		// A version of ours was heard of meanwhile: once more, above it.
	}
}

// sign signs the parts that are new, and gives their indexes.
func (g *Gossip) sign(all []part) ([]int, error) {
	var fresh []int
	for i := range all {
		if all[i].signature != nil {
			continue
		}
		digest := all[i].digest(g.config.Cluster)
		signature, err := g.config.Sign(digest[:])
		if err != nil {
			return nil, err
		}
		if len(signature) == 0 || len(signature) > maxSignature {
			return nil, fmt.Errorf("the signature has %d bytes, at most %d are allowed", len(signature), maxSignature)
		}
		all[i].signature = signature
		fresh = append(fresh, i)
	}
	return fresh, nil
}

// install makes the parts this node's record, if the edition is still the next one.
func (g *Gossip) install(all []part, edition uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.edition+1 != edition {
		return false
	}
	g.edition = edition
	e := g.members[g.config.ID]
	if e == nil {
		return true // only after the end: memberlist's first word is of this node
	}
	e.rec = record{base: all}
	g.judgeLocked(e)
	g.changeLocked()
	return true
}

// broadcast tells what is new.
func (g *Gossip) broadcast(all []part, fresh []int) {
	var unsent []*broadcast
	if len(fresh) > maxBroadcasts {
		unsent = append(unsent, g.send(all[fresh[0]], true))
	} else {
		for _, i := range fresh {
			unsent = append(unsent, g.send(all[i], false))
		}
	}
	g.mu.Lock()
	g.unsent = unsent
	g.mu.Unlock()
}

// Flush waits until the newest publication has been sent as often as broadcasts are, about a second, so that a process may
// end after it. With nobody else alive it returns at once.
func (g *Gossip) Flush(ctx context.Context) error {
	g.mu.Lock()
	unsent := g.unsent
	g.mu.Unlock()
	for _, b := range unsent {
		if g.othersGone() {
			return nil
		}
		select {
		case <-b.sent:
		case <-ctx.Done():
			return fmt.Errorf("send record: %w", ctx.Err())
		}
	}
	return nil
}

// othersGone reports whether no other member is alive.
func (g *Gossip) othersGone() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, e := range g.members {
		if id != g.config.ID && e.state == cluster.MemberAlive {
			return false
		}
	}
	return true
}

// leaveTime bounds how long a goodbye is told.
const leaveTime = 3 * time.Second

// Leave says goodbye for good: others see this node as left, do not try to reach it and forget it after a day. It
// returns when they were told, after 4 s at most; afterwards Run should end, and nothing can be published.
func (g *Gossip) Leave(ctx context.Context) error {
	g.publish.Lock()
	err := g.say(publication{left: true}, false)
	g.left = err == nil
	g.publish.Unlock()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	told := g.Flush(ctx)
	g.ending.RLock()
	defer g.ending.RUnlock()
	if g.over {
		return errors.New("leave gossip: it has ended")
	}
	return errors.Join(told, g.ml.Leave(time.Second))
}
