package server

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/state"
)

const (
	// leaseTTL is how long a node's lease lasts after a heartbeat, of which there is one in a second. Above
	// manyNodes it grows with their number.
	leaseTTL  = 2 * time.Second
	manyNodes = 1000
	// restartGrace is how long a node that nobody hears keeps its work if it said that it restarts, or if gossip has not
	// met it yet: all may be starting.
	restartGrace = 30 * time.Second
	// vigilance is how often the leader looks at least.
	vigilance = time.Second
	// maxDoze is how much later than it wanted to the leader may look and still trust what it did not hear.
	maxDoze = 5 * time.Second
	// witnesses is how many other nodes are asked before a node is given up.
	witnesses = 3
	// loneWord is for how long the word of one witness, which nobody confirms, keeps a node from being given up.
	loneWord = 30 * time.Second
)

// sign is what the leader knows of whether a node lives.
type sign struct {
	silent     time.Duration       // since the node's last heartbeat
	member     cluster.MemberState // 0: gossip has not met it
	since      time.Duration       // for how long gossip says so
	restarting bool                // it said that it would be back soon
}

// verdict is what follows from a sign.
type verdict uint8

const (
	trusted verdict = iota // it lives, or is given time
	flagged                // gossip has it, but it does not renew its lease
	suspect                // both proofs of life are gone
	goodbye                // it left for good
)

// judge is the rule: a node is lost when gossip says that it is dead and its lease has lapsed. Another look is due after
// the duration, if it is not zero.
func (s sign) judge(ttl time.Duration) (verdict, time.Duration) {
	switch {
	case s.member == cluster.MemberLeft:
		return goodbye, 0
	case s.silent < ttl:
		return trusted, ttl - s.silent
	case s.member == cluster.MemberAlive:
		return flagged, vigilance
	case s.member == 0 && s.silent < restartGrace:
		return trusted, restartGrace - s.silent
	case s.restarting && s.since < restartGrace:
		return trusted, restartGrace - s.since
	}
	return suspect, 0
}

// ttl is how long leases last among that many nodes.
func ttl(nodes int) time.Duration {
	return leaseTTL * time.Duration(max(1, (nodes+manyNodes-1)/manyNodes))
}

// vigil is one look at all nodes.
type vigil struct {
	suspects []*cluster.Node
	gone     []*cluster.Node
	flagged  []cluster.ID
	passed   []cluster.ID // whose leases other servers renew
	next     time.Time    // of the next look
}

// doubt is what speaks for a node of which both proofs of life are gone: that it was reached afresh.
type doubt struct {
	until time.Time                // it counts as reached
	words map[cluster.ID]time.Time // the newest word of each witness that reached it
	since time.Time                // there has been one witness alone; zero: it is not so
}

// hear takes in what came of one round of questions, and reports whether the node is spared: if the leader reached it itself, if
// two witnesses have of late, or if one has, but that for loneWord at most. A witness that lies keeps no dead node alive.
func (d doubt) hear(self bool, vouchers []cluster.ID, now time.Time) (next doubt, spared bool) {
	next = doubt{until: now.Add(vigilance)}
	if self || len(vouchers) == 0 {
		return next, self
	}
	next.words = map[cluster.ID]time.Time{}
	for id, at := range d.words {
		if now.Sub(at) < loneWord {
			next.words[id] = at
		}
	}
	for _, id := range vouchers {
		next.words[id] = now
	}
	if len(next.words) > 1 {
		return next, true
	}
	next.since = d.since
	if next.since.IsZero() {
		next.since = now
	}
	return next, now.Sub(next.since) < loneWord
}

// look judges every node that is not down. Those in doubt were reached by somebody a moment ago; it forgets doubts that are none
// any more.
func (s *Server) look(snapshot *state.Snapshot, doubts map[cluster.ID]doubt, now time.Time) (v vigil) {
	members, behind := s.membersByID(), s.epochs.now().Behind
	count := 0
	for range snapshot.Nodes() {
		count++
	}
	lease := ttl(count)
	for node := range snapshot.Nodes() {
		if !node.Alive() {
			continue
		}
		sign := sign{silent: now.Sub(s.leases.last(node.ID))}
		if m, met := members[node.ID]; met {
			sign.member, sign.since, sign.restarting = m.State, now.Sub(m.Since), m.Restarting
		} else if slices.Contains(behind, node.ID) {
			sign.member = cluster.MemberDead // who re-formed the cluster gave it up
		}
		verdict, again := sign.judge(lease)
		if d := doubts[node.ID]; verdict != suspect {
			delete(doubts, node.ID)
		} else if now.Before(d.until) {
			verdict, again = flagged, d.until.Sub(now)
		}
		switch verdict {
		case trusted:
			if s.leases.passed(node.ID, lease) && s.leases.leadingFor(now) >= 2*lease {
				v.passed = append(v.passed, node.ID)
			}
		case flagged:
			if s.leases.leadingFor(now) >= 2*lease { // a new leader is heard of by and by
				v.flagged = append(v.flagged, node.ID)
			}
		case suspect:
			v.suspects = append(v.suspects, node)
		case goodbye:
			v.gone = append(v.gone, node)
		}
		if again > 0 {
			v.next = earlier(v.next, now.Add(min(again, vigilance)))
		}
	}
	return v
}

// watchNodes marks nodes that are lost as down, so that their work is done elsewhere. A leader that was itself stopped for
// a while (a suspended machine, say) has heard nothing and gives every node a new lease.
func (s *Server) watchNodes(ctx context.Context) error {
	doubts := map[cluster.ID]doubt{}
	flagged, passed := map[cluster.ID]bool{}, map[cluster.ID]bool{}
	for ctx.Err() == nil {
		changed := s.membersChanged()
		snapshot, now := s.Snapshot(), time.Now()
		v := s.look(snapshot, doubts, now)
		s.tell(flagged, v.flagged, "node lives but its heartbeats do not come through: it keeps its work")
		s.tell(passed, v.passed, "node and this server do not reach one another: its heartbeats come through other servers")
		for _, node := range v.gone {
			if err := s.giveUp(ctx, node, "it left the cluster"); err != nil {
				return err
			}
		}
		if len(v.suspects) > 0 {
			if err := s.giveUpUnreached(ctx, v.suspects, doubts); err != nil {
				return err
			}
			v.next = earlier(v.next, time.Now().Add(vigilance))
		}
		s.leases.forget(func(id cluster.ID) bool { return snapshot.Node(id) != nil })
		s.await(ctx, snapshot.Index(), v.next, changed, state.TableKey(state.Nodes))
		if late := time.Since(v.next); !v.next.IsZero() && late > maxDoze {
			s.logger.Info("this server stood still for a while: all nodes get a new lease", "for", late.Round(time.Second).String())
			s.leases.distrust(time.Now())
		}
	}
	return nil
}

// giveUp decides that a node is down, unless it has changed since it was looked at: then it is looked at again.
func (s *Server) giveUp(ctx context.Context, node *cluster.Node, why string) error {
	silent := time.Since(s.leases.last(node.ID)).Round(time.Millisecond)
	s.logger.Warn("node is lost, its work moves", "node", node.ID, "for", silent.String(), "why", why)
	err := s.setNodeStatus(ctx, node, cluster.AbsentStatus(s.Snapshot().AllocsByNode(node.ID)), why)
	if cluster.CodeOf(err) == cluster.CodeConflict {
		s.logger.Info("node changed while it was given up: it is looked at again", "node", node.ID)
		return nil
	}
	return err
}

// tell says it once of each of the nodes, and again when it has ended and begun anew.
func (s *Server) tell(told map[cluster.ID]bool, nodes []cluster.ID, what string) {
	for id := range told {
		if !slices.Contains(nodes, id) {
			delete(told, id)
		}
	}
	for _, id := range nodes {
		if !told[id] {
			told[id] = true
			s.logger.Warn(what, "node", id)
		}
	}
}

// mostConfirmed bounds how many nodes are asked for at once; each takes up to four connections.
const mostConfirmed = 512

// giveUpUnreached gives up those of the suspects that neither this server nor other nodes reach afresh, and that were not heard
// of meanwhile, each as soon as that is known. Those that somebody reaches are in doubt for a moment.
func (s *Server) giveUpUnreached(ctx context.Context, suspects []*cluster.Node, doubts map[cluster.ID]doubt) error {
	type finding struct {
		node     *cluster.Node
		self     bool
		vouchers []cluster.ID
	}
	suspects = suspects[:min(len(suspects), mostConfirmed)] // the others at the next look
	findings := make(chan finding, len(suspects))
	asked := time.Now()
	group := new(errgroup.Group)
	defer group.Wait()
	for _, node := range suspects {
		group.Go(func() error {
			self, vouchers := s.confirm(ctx, node.ID)
			findings <- finding{node, self, vouchers}
			return nil
		})
	}
	for range suspects {
		found := <-findings
		if ctx.Err() != nil {
			return nil
		}
		id, why := found.node.ID, "gossip and heartbeats are silent, and no other node reaches it"
		if len(found.vouchers) > 0 {
			why = "gossip and heartbeats are silent, and of all others node " + found.vouchers[0].Short() + " alone says that it reaches it"
		}
		next, spared := doubts[id].hear(found.self, found.vouchers, time.Now())
		if spared {
			doubts[id] = next
			continue
		}
		if s.alive(id) {
			continue
		}
		decided, silent := s.leases.condemn(id, asked)
		if !silent {
			continue
		}
		delete(doubts, id)
		err := s.giveUp(ctx, found.node, why)
		decided()
		if err != nil {
			return err
		}
	}
	return nil
}

// confirm tries whether this server and a few other nodes reach the node with a new connection: whether this one does, and
// else which of the others say so.
func (s *Server) confirm(ctx context.Context, id cluster.ID) (self bool, vouchers []cluster.ID) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := s.chooseWitnesses(id)
	type answer struct {
		via     cluster.ID // zero: this server
		reaches bool
	}
	answers := make(chan answer, len(asked)+1)
	go func() { answers <- answer{reaches: s.config.Dialer.Reached(ctx, id)} }()
	for _, via := range asked {
		go func() {
			reaches, err := s.config.Dialer.Reaches(ctx, via, id)
			if err != nil {
				s.logger.Debug("node could not be asked for another", "node", via, "err", err)
			}
			answers <- answer{via, reaches}
		}()
	}
	for range len(asked) + 1 {
		switch got := <-answers; {
		case got.reaches && got.via.IsZero():
			self = true
			cancel() // the others need not go on
		case got.reaches:
			vouchers = append(vouchers, got.via)
		}
	}
	return self, vouchers
}

// chooseWitnesses are some other nodes that live.
func (s *Server) chooseWitnesses(about cluster.ID) []cluster.ID {
	var living []cluster.ID
	for id, m := range s.membersByID() {
		if m.State == cluster.MemberAlive && id != about && id != s.config.Identity.ID() {
			living = append(living, id)
		}
	}
	rand.Shuffle(len(living), func(i, j int) { living[i], living[j] = living[j], living[i] })
	return living[:min(len(living), witnesses)]
}

// alive reports whether gossip has the node.
func (s *Server) alive(id cluster.ID) bool {
	return s.membersByID()[id].State == cluster.MemberAlive
}

// membersByID is what gossip knows; nothing if this server is alone.
func (s *Server) membersByID() map[cluster.ID]cluster.Member {
	if s.config.Members == nil {
		return nil
	}
	members := s.config.Members.Members()
	byID := make(map[cluster.ID]cluster.Member, len(members))
	for _, m := range members {
		byID[m.Node] = m
	}
	return byID
}

// membersChanged is closed when gossip knows something new; nil if this server is alone.
func (s *Server) membersChanged() <-chan struct{} {
	if s.config.Members == nil {
		return nil
	}
	return s.config.Members.Changed()
}
