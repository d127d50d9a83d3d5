package lan

import (
	"slices"
	"time"
)

// Condition is what happens to packets on their way. The zero value lets all of them pass at once.
type Condition struct {
	Cut     bool          // nothing passes
	Loss    float64       // this part of all packets is lost, by chance
	Delay   time.Duration // for each packet
	Blocked []uint16      // TCP and UDP ports that packets to them do not reach
}

// worse is the condition of a way whose parts have the conditions a and b.
func worse(a, b Condition) Condition {
	return Condition{
		Cut: a.Cut || b.Cut, Loss: max(a.Loss, b.Loss), Delay: max(a.Delay, b.Delay),
		Blocked: slices.Concat(a.Blocked, b.Blocked),
	}
}

// passes reports whether a packet gets through, with luck from 0 to 1 as its chance.
func (c Condition) passes(p packet, luck float64) bool {
	switch {
	case c.Cut, p.hasPorts && slices.Contains(c.Blocked, p.to):
		return false
	case p.neighbour:
		return true
	}
	return luck >= c.Loss
}

// conditions are all that hold on a LAN. A value is replaced, never modified.
type conditions struct {
	out, in map[*Machine]Condition
	between map[way]Condition
}

// way leads from one machine to another.
type way struct{ from, to *Machine }

// of is the condition of a way.
func (c *conditions) of(w way) Condition {
	if len(c.out)+len(c.in)+len(c.between) == 0 {
		return Condition{}
	}
	return worse(worse(c.out[w.from], c.in[w.to]), c.between[w])
}
