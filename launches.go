package cluster

import (
	"slices"
	"time"
)

const (
	// ClockSlack is how far clocks may be from one another, or be set back, without anything being made of it.
	ClockSlack = 10 * time.Minute
	// maxSlotRanges bounds what is remembered of a periodic job's launches.
	maxSlotRanges = 16
	// maxMissed is how many missed slots are counted at once.
	maxMissed = 10000
)

// Launches is what the state remembers of a periodic job's launches. From it and the clock alone any leader knows what to
// launch, so that no slot runs twice, whatever leaders and clocks do:
//
//   - The newest slot that has come runs, unless it has run. Those between it and the one that ran before were missed:
//     they are counted, and not made up for.
//   - What has run is remembered with what was passed over before it. A clock that is set back therefore runs nothing again.
//     One that was years ahead and is right again goes on with the slots that were passed over as they come, and what ran
//     ahead of its time has run. (A clock that is set back by no more than ClockSlack launches nothing until it is where it was.)
//   - A schedule that begins in the future, because a clock was ahead when its job was registered, begins anew now.
type Launches struct {
	Since       int64       // unix nanoseconds: slots up to then are not of this schedule
	Ran         []SlotRange // what is done with, launched or skipped: ascending, with slots that were passed over between them
	Last        int64       // the slot that was done with last, in unix seconds; 0: none yet. A clock that was set back makes it less
	Missed      uint64      // slots that passed with no leader to launch them
	LastMissed  SlotRange   // the newest of them
	Skipped     uint64      // slots that prohibit_overlap left out
	LastSkipped int64       // the newest of them, in unix seconds
	Index       uint64      // of the last change; the state's to write
}

// SlotRange is from the first to the last of several slots, in unix seconds.
type SlotRange struct{ From, To int64 }

// Turn is what is to be done about a periodic job at one moment.
type Turn struct {
	Slot     int64     // to be launched or skipped now, in unix seconds; 0: none
	Missed   uint64    // slots before it that were missed, at most maxMissed
	Range    SlotRange // of those
	Restated bool      // the schedule was to begin in the future and begins now
	Next     time.Time // the next slot; zero: there is none
	After    *Launches // what is to be remembered, if Slot is launched; nil: nothing changes
}

// Turn decides what is to be done now.
func (l *Launches) Turn(s *Schedule, now time.Time) Turn {
	last, current := l.current(now)
	begin := l.end(current)
	if begin.After(now.Add(ClockSlack)) && begin.UnixNano() == l.Since {
		after := *l
		after.Since = now.UnixNano()
		return Turn{Restated: true, Next: after.next(s, now), After: &after}
	}
	t := Turn{Next: l.next(s, latest(begin, now))}
	slot := s.Last(begin, now)
	if slot.IsZero() || l.ranAt(slot.Unix()) >= 0 {
		return t
	}
	t.Slot = slot.Unix()
	t.Missed, t.Range = l.missed(s, l.end(last), slot)
	t.After = l.after(t, current)
	return t
}

// Skip is what is to be remembered if the turn's slot is left out.
func (t Turn) Skip() *Launches {
	after := *t.After
	after.Skipped++
	after.LastSkipped = t.Slot
	return &after
}

// current is the place in Ran of what ran before now by the clock, -1 if there is none. That is the last range unless the
// clock was set back and is before it. last is the place of what ran last indeed, if that is not after current: ranges
// between the two ran ahead of their time.
func (l *Launches) current(now time.Time) (last, current int) {
	current = len(l.Ran) - 1
	for current >= 0 && l.Ran[current].From > l.Last && l.Ran[current].From > now.Unix() {
		current-- // its time has not come
	}
	for current >= 0 && l.Ran[current].From > now.Add(ClockSlack).Unix() {
		current--
	}
	last = current
	for last >= 0 && l.Ran[last].From > l.Last {
		last--
	}
	return last, current
}

// end is the moment after which there are slots that have not run: that of the i-th range, or the schedule's beginning.
func (l *Launches) end(i int) time.Time {
	begin := time.Unix(0, l.Since)
	if i < 0 {
		return begin
	}
	return latest(begin, time.Unix(l.Ran[i].To, 0))
}

// ranAt is the place in Ran of the range that the slot is in, -1 if it is in none.
func (l *Launches) ranAt(slot int64) int {
	return slices.IndexFunc(l.Ran, func(r SlotRange) bool { return r.From <= slot && slot <= r.To })
}

// next is the first slot after the moment that has not run ahead of its time.
func (l *Launches) next(s *Schedule, after time.Time) time.Time {
	slot := s.Next(after)
	for !slot.IsZero() {
		i := l.ranAt(slot.Unix())
		if i < 0 {
			break
		}
		slot = s.Next(time.Unix(l.Ran[i].To, 0))
	}
	return slot
}

// missed counts the slots between two moments that have not run.
func (l *Launches) missed(s *Schedule, after, before time.Time) (n uint64, r SlotRange) {
	for slot := l.next(s, after); !slot.IsZero() && slot.Before(before); slot = l.next(s, slot) {
		if n == 0 {
			r.From = slot.Unix()
		}
		r.To = slot.Unix()
		if n++; n == maxMissed {
			r.To = s.Last(slot.Add(-time.Second), before.Add(-time.Second)).Unix()
			break
		}
	}
	return n, r
}

// after is what is to be remembered after the turn's slot was launched, current being the place of what ran before it.
func (l *Launches) after(t Turn, current int) *Launches {
	after := *l
	after.Ran, after.Last = slices.Clone(l.Ran), t.Slot
	follows := current >= 0 && t.Missed == 0 && l.end(current).Unix() == l.Ran[current].To &&
		(current+1 == len(l.Ran) || l.Ran[current+1].From > t.Slot)
	if follows {
		after.Ran[current].To = t.Slot
	} else {
		place, _ := slices.BinarySearchFunc(after.Ran, t.Slot, func(r SlotRange, slot int64) int { return int(r.From - slot) })
		after.Ran = slices.Insert(after.Ran, place, SlotRange{t.Slot, t.Slot})
	}
	if len(after.Ran) > maxSlotRanges {
		after.Ran = withoutSmallestGap(after.Ran)
	}
	if t.Missed > 0 {
		after.Missed += t.Missed
		after.LastMissed = t.Range
	}
	return &after
}

// withoutSmallestGap joins the two ranges that are closest. What was passed over between them will not run any more.
func withoutSmallestGap(ran []SlotRange) []SlotRange {
	at := 1
	for i := 2; i < len(ran); i++ {
		if ran[i].From-ran[i-1].To < ran[at].From-ran[at-1].To {
			at = i
		}
	}
	ran[at-1].To = ran[at].To
	return slices.Delete(ran, at, at+1)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Begin is what the state remembers of a schedule that begins at the moment (unix nanoseconds), after what it
// remembered of the one before it; nil if there was none.
func (l *Launches) Begin(at int64) *Launches {
	if l == nil {
		return &Launches{Since: at}
	}
	begun := *l
	begun.Since = at
	return &begun
}
