package cluster

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// noon is when the stories of these tests begin.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func scheduleOf(t interface{ Fatal(...any) }, zone string, crons ...string) *Schedule {
	p := PeriodicConfig{Specs: crons, TimeZone: zone}
	s, err := p.Schedule()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A job that is launched every hour was registered at 11:30. The rows are a story: at each time somebody looks.
func TestWhatIsLaunchedWhen(t *testing.T) {
	at := func(d time.Duration) string { return noon.Add(d).Format("2 15:04:05") }
	const never = "-"
	for _, story := range []struct {
		name string
		rows [][4]any // when, the slot that is launched, how many were missed, the next slot
	}{
		{"on time", [][4]any{{-15 * time.Minute, never, 0, time.Duration(0)}, {time.Duration(0), time.Duration(0), 0, time.Hour},
			{time.Second, never, 0, time.Hour}, {time.Hour, time.Hour, 0, 2 * time.Hour}}},
		{"a gap: the latest that was missed runs, the others are counted", [][4]any{{time.Duration(0), time.Duration(0), 0, time.Hour},
			{5*time.Hour + time.Minute, 5 * time.Hour, 4, 6 * time.Hour}, {5*time.Hour + 2*time.Minute, never, 0, 6 * time.Hour}, {6 * time.Hour, 6 * time.Hour, 0, 7 * time.Hour}}},
		{"a gap from the beginning on", [][4]any{{3*time.Hour + time.Minute, 3 * time.Hour, 3, 4 * time.Hour}}},
		{"the clock is set back a little", [][4]any{{time.Duration(0), time.Duration(0), 0, time.Hour}, {-time.Minute, never, 0, time.Hour},
			{time.Duration(0), never, 0, time.Hour}, {time.Hour, time.Hour, 0, 2 * time.Hour}}},
		{"… just after a gap: nothing that was missed runs", [][4]any{{time.Duration(0), time.Duration(0), 0, time.Hour},
			{4 * time.Hour, 4 * time.Hour, 3, 5 * time.Hour}, {4*time.Hour - time.Minute, never, 0, 5 * time.Hour}}},
		{"… by hours: what has run does not run again", [][4]any{{time.Duration(0), time.Duration(0), 0, time.Hour}, {time.Hour, time.Hour, 0, 2 * time.Hour},
			{2 * time.Hour, 2 * time.Hour, 0, 3 * time.Hour}, {30 * time.Minute, never, 0, 3 * time.Hour}, {time.Hour, never, 0, 3 * time.Hour},
			{2*time.Hour + time.Minute, never, 0, 3 * time.Hour}, {3 * time.Hour, 3 * time.Hour, 0, 4 * time.Hour}}},
		{"the clock is days ahead, and right again: what comes runs, what ran does not", [][4]any{{time.Duration(0), time.Duration(0), 0, time.Hour},
			{48 * time.Hour, 48 * time.Hour, 47, 49 * time.Hour}, {49 * time.Hour, 49 * time.Hour, 0, 50 * time.Hour},
			{30 * time.Minute, never, 0, time.Hour}, {time.Hour, time.Hour, 0, 2 * time.Hour}, {2 * time.Hour, 2 * time.Hour, 0, 3 * time.Hour},
			{47*time.Hour + time.Minute, 47 * time.Hour, 44, 50 * time.Hour}, {48 * time.Hour, never, 0, 50 * time.Hour},
			{49*time.Hour + time.Minute, never, 0, 50 * time.Hour}, {50 * time.Hour, 50 * time.Hour, 0, 51 * time.Hour}}},
	} {
		s := scheduleOf(t, "UTC", "@hourly")
		l := &Launches{Since: noon.Add(-30 * time.Minute).UnixNano()}
		for i, row := range story.rows {
			show := func(v any) string {
				if d, ok := v.(time.Duration); ok {
					return at(d)
				}
				return fmt.Sprint(v)
			}
			turn := l.Turn(s, noon.Add(row[0].(time.Duration)))
			slot := never
			if turn.Slot != 0 {
				slot = time.Unix(turn.Slot, 0).UTC().Format("2 15:04:05")
				l = turn.After
			}
			got := fmt.Sprintf("slot %s, missed %d, next %s", slot, turn.Missed, turn.Next.UTC().Format("2 15:04:05"))
			want := fmt.Sprintf("slot %s, missed %d, next %s", show(row[1]), row[2], show(row[3]))
			if got != want {
				t.Errorf("%s, row %d: %s, want %s (%+v)", story.name, i, got, want, l)
			}
		}
	}
}

func TestAScheduleThatBeginsInTheFutureBeginsNow(t *testing.T) {
	s := scheduleOf(t, "UTC", "@hourly")
	l := &Launches{Since: noon.AddDate(2, 0, 0).UnixNano()}
	turn := l.Turn(s, noon.Add(time.Minute))
	if !turn.Restated || turn.Slot != 0 || turn.After.Since != noon.Add(time.Minute).UnixNano() || !turn.Next.Equal(noon.Add(time.Hour)) {
		t.Fatalf("%+v", turn)
	}
	if turn = turn.After.Turn(s, noon.Add(time.Hour)); turn.Slot != noon.Add(time.Hour).Unix() || turn.Missed != 0 {
		t.Fatalf("%+v", turn)
	}
	l = &Launches{Since: noon.Add(5 * time.Minute).UnixNano()}
	if turn = l.Turn(s, noon); turn.Restated || turn.Slot != 0 {
		t.Fatalf("a little ahead: %+v", turn)
	}
}

func TestASkippedSlotIsDoneWith(t *testing.T) {
	s := scheduleOf(t, "UTC", "@hourly")
	l := &Launches{Since: noon.Add(-time.Minute).UnixNano()}
	turn := l.Turn(s, noon)
	l = turn.Skip()
	if l.Skipped != 1 || l.LastSkipped != noon.Unix() || l.Turn(s, noon.Add(time.Second)).Slot != 0 || turn.After.Skipped != 0 {
		t.Fatalf("%+v", l)
	}
}

func TestManyMissedSlotsAreCountedAtOnce(t *testing.T) {
	s := scheduleOf(t, "UTC", "* * * * * * *")
	l := &Launches{Since: noon.UnixNano()}
	turn := l.Turn(s, noon.AddDate(20, 0, 0))
	end := noon.AddDate(20, 0, 0).Unix()
	if turn.Slot != end || turn.Missed != maxMissed || turn.Range != (SlotRange{noon.Unix() + 1, end - 1}) {
		t.Fatalf("%+v", turn)
	}
}

// story is a periodic job with leaders that come and go and a clock that does what it likes.
type story struct {
	t        *rapid.T
	schedule *Schedule
	record   *Launches
	clock    time.Time
	launched map[int64]bool
	missed   uint64
	reported []SlotRange
}

// look is what a leader does: it decides from the record alone, and what it decides is recorded, or lost with it.
func (s *story) look(lost bool) {
	text, err := json.Marshal(s.record) // a new leader has nothing but what is written
	if err != nil {
		s.t.Fatal(err)
	}
	var l Launches
	if err := json.Unmarshal(text, &l); err != nil {
		s.t.Fatal(err)
	}
	turn := l.Turn(s.schedule, s.clock)
	if !turn.Next.IsZero() && !turn.Next.After(s.clock) {
		s.t.Fatalf("at %v the next slot is %v", s.clock, turn.Next)
	}
	if turn.After == nil || lost {
		return
	}
	if again, _ := json.Marshal(&l); string(again) != string(text) {
		s.t.Fatal("the decision changed what it was made from")
	}
	s.record = turn.After
	if turn.Slot == 0 {
		return
	}
	if s.launched[turn.Slot] {
		s.t.Fatalf("at %v slot %v runs again", s.clock, time.Unix(turn.Slot, 0).UTC())
	}
	if time.Unix(turn.Slot, 0).After(s.clock) || !s.schedule.Next(time.Unix(turn.Slot-1, 0)).Equal(time.Unix(turn.Slot, 0)) {
		s.t.Fatalf("at %v slot %v is launched", s.clock, time.Unix(turn.Slot, 0).UTC())
	}
	s.launched[turn.Slot] = true
	s.missed += turn.Missed
	if turn.Missed > 0 {
		s.reported = append(s.reported, turn.Range)
	}
	ran := s.record.Ran
	if len(ran) > maxSlotRanges || !slices.IsSortedFunc(ran, func(a, b SlotRange) int { return int(a.To - b.From) }) {
		s.t.Fatalf("ranges %v", ran)
	}
}

// slots are those after one moment and not after the other.
func (s *story) slots(after, until time.Time) (all []int64) {
	for at := s.schedule.Next(after); !at.IsZero() && !at.After(until); at = s.schedule.Next(at) {
		all = append(all, at.Unix())
	}
	return all
}

func newStory(t *rapid.T) *story {
	kind := rapid.SampledFrom([][]string{{"* * * * * * *"}, {"*/7 * * * * * *"}, {"* * * * *"}, {"*/20 * * * *", "7 * * * *"}, {"@hourly"}, {"30 2 * * *", "15 1 * * *"}}).Draw(t, "crons")
	zone := rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Australia/Lord_Howe"}).Draw(t, "zone")
	s := &story{t: t, schedule: scheduleOf(t, zone, kind...), launched: map[int64]bool{}}
	// two hours before Berlin's clocks are turned back, or any other time
	begin := time.Date(2026, 10, 24, 22, 0, 0, 0, time.UTC)
	if rapid.Bool().Draw(t, "any time") {
		begin = time.Unix(rapid.Int64Range(1_700_000_000, 1_800_000_000).Draw(t, "begin"), 0).UTC()
	}
	s.clock = begin.Add(time.Duration(rapid.IntRange(0, 1e9-1).Draw(t, "fraction")))
	s.record = (*Launches)(nil).Begin(s.clock.UnixNano())
	return s
}

// step is one that the clock takes by itself: mostly to the next slot.
func (s *story) step() {
	next := s.schedule.Next(s.clock)
	switch rapid.IntRange(0, 5).Draw(s.t, "step") {
	case 0:
		s.clock = s.clock.Add(time.Duration(rapid.Int64Range(1, int64(3*time.Second)).Draw(s.t, "moment")))
	case 1: // nobody leads for a while
		s.clock = s.clock.Add(next.Sub(s.clock) * time.Duration(rapid.IntRange(1, 50).Draw(s.t, "gap")))
	default:
		s.clock = next.Add(time.Duration(rapid.IntRange(0, 1e9-1).Draw(s.t, "late")))
	}
}

// While the clock only goes on, every slot runs once or is reported as missed once, and the newest always runs.
func TestEverySlotRunsOrIsReported(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newStory(t)
		began := s.clock
		for range rapid.IntRange(1, 60).Draw(t, "looks") {
			s.step()
			s.look(rapid.IntRange(0, 4).Draw(t, "lost") == 0)
		}
		s.look(false)
		all := s.slots(began, s.clock)
		reported := func(slot int64) bool {
			return slices.ContainsFunc(s.reported, func(r SlotRange) bool { return r.From <= slot && slot <= r.To })
		}
		for i, slot := range all {
			if s.launched[slot] == reported(slot) {
				t.Fatalf("slot %v: launched %v, reported %v", time.Unix(slot, 0).UTC(), s.launched[slot], reported(slot))
			}
			if i == len(all)-1 && !s.launched[slot] {
				t.Fatalf("the newest slot, %v, has not run at %v", time.Unix(slot, 0).UTC(), s.clock)
			}
		}
		if len(s.launched)+int(s.missed) != len(all) || s.record.Missed != s.missed {
			t.Fatalf("%d launched and %d missed of %d", len(s.launched), s.missed, len(all))
		}
	})
}

// The clock jumps, by seconds or by years. No slot runs twice (look checks that); and when it is right at last and goes
// on, every slot from then on runs, unless it ran before, but for those within the slack before what ran. (After very many
// gaps the smallest ones are forgotten, and what was passed over in them does not run.)
func TestNoSlotRunsTwiceWhateverTheClockDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newStory(t)
		began := s.clock
		for range rapid.IntRange(0, 12).Draw(t, "jumps") {
			for range rapid.IntRange(0, 8).Draw(t, "looks") {
				s.step()
				s.look(rapid.IntRange(0, 4).Draw(t, "lost") == 0)
			}
			if rapid.IntRange(0, 9).Draw(t, "registered anew") == 0 {
				s.record = s.record.Begin(s.clock.UnixNano())
			}
			unit := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour, 365 * 24 * time.Hour}).Draw(t, "unit")
			s.clock = s.clock.Add(unit * time.Duration(rapid.IntRange(-20, 20).Draw(t, "jump")))
			if s.clock.Year() < 2000 || s.clock.Year() > 2080 {
				s.clock = began
			}
		}
		s.look(false)
		right := s.clock
		if len(s.record.Ran) > maxSlotRanges/2 {
			return
		}
		for range 30 {
			s.clock = s.schedule.Next(s.clock)
			s.look(false)
		}
		for _, slot := range s.slots(right.Add(ClockSlack), s.clock) {
			near := slices.ContainsFunc(s.record.Ran, func(r SlotRange) bool { return slot < r.From && r.From <= slot+int64(ClockSlack/time.Second) })
			if !s.launched[slot] && !near {
				t.Fatalf("the clock is right since %v, and slot %v has not run at %v: %+v", right, time.Unix(slot, 0).UTC(), s.clock, s.record)
			}
		}
	})
}
