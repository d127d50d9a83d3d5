package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSlotsOfSchedules(t *testing.T) {
	for _, c := range []struct {
		name  string
		zone  string
		crons string // separated by |
		after string
		want  string // of slots, by local time and offset
	}{
		{"every quarter of an hour", "UTC", "*/15 * * * *", "2026-05-01T10:07:00Z", "10:15:00+0000 10:30:00+0000 10:45:00+0000"},
		{"the slot itself is not after it", "UTC", "0 * * * *", "2026-05-01T10:00:00Z", "11:00:00+0000"},
		{"a moment before it", "UTC", "0 * * * *", "2026-05-01T09:59:59.999Z", "10:00:00+0000"},
		{"seconds", "UTC", "*/20 * * * * * *", "2026-05-01T10:07:00Z", "10:07:20+0000 10:07:40+0000 10:08:00+0000"},
		{"the earliest of several", "UTC", "0 12 * * *|30 10 * * *|@hourly", "2026-05-01T10:07:00Z", "10:30:00+0000 11:00:00+0000 12:00:00+0000 13:00:00+0000"},
		{"in another zone", "Europe/Berlin", "0 12 * * *", "2026-05-01T00:00:00Z", "12:00:00+0200"},
		{"autumn: a local time that comes twice is one slot, the first", "Europe/Berlin", "30 2 * * *", "2026-10-24T23:00:00Z", "02:30:00+0200 02:30:00+0100 02:30:00+0100"},
		{"autumn: from between the two", "Europe/Berlin", "30 2 * * *", "2026-10-25T00:45:00Z", "02:30:00+0100"},
		{"autumn: every half hour has a break of one", "Europe/Berlin", "*/30 * * * *", "2026-10-24T23:45:00Z",
			"02:00:00+0200 02:30:00+0200 03:00:00+0100 03:30:00+0100"},
		{"spring: a local time that does not come is the moment after the change", "Europe/Berlin", "30 2 * * *", "2026-03-28T12:00:00Z", "03:00:00+0200 02:30:00+0200"},
		{"spring: several are one", "Europe/Berlin", "0,15,30,45 1-3 * * *", "2026-03-29T00:30:00Z", "01:45:00+0100 03:00:00+0200 03:15:00+0200"},
		{"midnight that does not come", "America/Sao_Paulo", "0 0 * * *", "2018-11-03T12:00:00Z", "01:00:00-0200 00:00:00-0200"},
		{"a day that does not come", "Pacific/Apia", "0 12 * * *", "2011-12-29T23:00:00Z", "00:00:00+1400 12:00:00+1400"},
		{"Sunday is a day of a range", "UTC", "0 0 * * 5-7", "2026-11-19T12:00:00Z", "Fri Sat Sun Fri"},
		{"… and by its name", "UTC", "0 0 * * fri-sun", "2026-11-19T12:00:00Z", "Fri Sat Sun Fri"},
		{"… of all days", "UTC", "0 0 * * 1-7", "2026-11-20T12:00:00Z", "Sat Sun Mon"},
		{"… of every other", "UTC", "0 0 * * 1-7/2", "2026-11-20T12:00:00Z", "Sun Mon Wed Fri Sun"},
		{"the last day of the month", "UTC", "0 0 L * *", "2028-02-01T00:00:00Z", "00:00:00+0000"},
		{"the end", "UTC", "0 0 1 1 * 2026", "2026-05-01T00:00:00Z", ""},
	} {
		p := PeriodicConfig{Specs: strings.Split(c.crons, "|"), TimeZone: c.zone}
		s, err := p.Schedule()
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, c.after)
		if err != nil {
			t.Fatal(err)
		}
		format := "15:04:05-0700"
		if strings.HasPrefix(strings.TrimLeft(c.want, "FSMW"), "r") || strings.HasPrefix(c.want, "S") {
			format = "Mon"
		}
		var got []string
		for range max(1, len(strings.Fields(c.want))) {
			if at = s.Next(at); !at.IsZero() {
				got = append(got, at.In(s.zone).Format(format))
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %s, want %s", c.name, strings.Join(got, " "), c.want)
		}
	}
}

func TestSchedulesThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		p    PeriodicConfig
		want string
	}{
		{PeriodicConfig{}, "read schedule: want 1 to 64 cron expressions, have 0"},
		{PeriodicConfig{Specs: make([]string, 65)}, "read schedule: want 1 to 64 cron expressions, have 65"},
		{PeriodicConfig{Spec: "hourly"}, `read cron expression "hourly": missing field(s); write 5 to 7 fields such as "*/15 * * * *", or @daily`},
		{PeriodicConfig{Spec: "61 * * * *"}, `read cron expression "61 * * * *": syntax error in minute field: '61'; write 5 to 7 fields such as "*/15 * * * *", or @daily`},
		{PeriodicConfig{Spec: "*/0 * * * *"}, `read cron expression "*/0 * * * *": invalid interval */0; write 5 to 7 fields such as "*/15 * * * *", or @daily`},
		{PeriodicConfig{Spec: "0 0 30 2 *"}, `read cron expression "0 0 30 2 *": it names a time that never comes`},
		{PeriodicConfig{Spec: "30-10 * * * *"}, `read cron expression "30-10 * * * *": the range "30-10" ends before it begins`},
		{PeriodicConfig{Spec: "50-10/5 * * * * * *"}, `read cron expression "50-10/5 * * * * * *": the range "50-10/5" ends before it begins`},
		{PeriodicConfig{Spec: "0 0 1 dec-jan *"}, `read cron expression "0 0 1 dec-jan *": the range "dec-jan" ends before it begins`},
		{PeriodicConfig{Spec: "0 0 * * fri-monday"}, `read cron expression "0 0 * * fri-monday": the range "fri-monday" ends before it begins`},
		{PeriodicConfig{Spec: "0 0 * * 1-7/x"}, `read cron expression "0 0 * * 1-7/x": syntax error in day-of-week field: '1-7/x'; write 5 to 7 fields such as "*/15 * * * *", or @daily`},
		{PeriodicConfig{Spec: strings.Repeat("1,", 300) + "1 * * * *"}, `read cron expression "` + strings.Repeat("1,", 20) + `"…: it is 609 bytes long, the limit is 500`},
		{PeriodicConfig{Spec: "@daily", TimeZone: "Europe/Springfield"}, `read time zone "Europe/Springfield": there is none of that name; write one such as "Europe/Berlin"`},
		{PeriodicConfig{Spec: "@daily", TimeZone: "../etc/passwd"}, `read time zone "../etc/passwd": there is none of that name; write one such as "Europe/Berlin"`},
		{PeriodicConfig{Spec: "@daily", TimeZone: "Local"}, `read time zone "Local": each server has its own; name one such as "Europe/Berlin"`},
	} {
		if _, err := c.p.Schedule(); err == nil || err.Error() != c.want || CodeOf(err) != CodeInvalid {
			t.Errorf("%+v: %v, want %s", c.p, err, c.want)
		}
	}
}

// slotsBetween are the slots of "minutes hours * * *" by the words of Schedule's comment: the moments are gone through one
// minute after another, and each local time takes the first that shows it or, if none does, the first that shows a later one.
func slotsBetween(from, to time.Time, minutes, hours map[int]bool) []int64 {
	shown := map[time.Time]int64{}
	found := map[int64]bool{}
	last := wallOf(from)
	for t := from; t.Before(to); t = t.Add(time.Minute) {
		wall := wallOf(t)
		for due := last; !due.After(wall); due = due.Add(time.Minute) { // more than one where clocks were turned forward
			if _, seen := shown[due]; !seen {
				shown[due] = t.Unix()
				if minutes[due.Minute()] && hours[due.Hour()] {
					found[t.Unix()] = true
				}
			}
		}
		if wall.After(last) {
			last = wall
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func TestSlotsAroundChangesOfTheClock(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Pacific/Apia", "Antarctica/Troll",
		"Africa/Casablanca", "Asia/Kathmandu", "Asia/Pyongyang", "America/Caracas", "Europe/Dublin"}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(zones).Draw(t, "zone")
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		change := time.Unix(rapid.Int64Range(946684800, 1900000000).Draw(t, "near"), 0).In(zone)
		if _, ends := change.ZoneBounds(); !ends.IsZero() {
			change = ends
		}
		change = time.Unix(change.Unix()/60*60, 0).In(zone)
		minutes, hours := map[int]bool{}, map[int]bool{}
		for range rapid.IntRange(1, 4).Draw(t, "minutes") {
			minutes[rapid.IntRange(0, 59).Draw(t, "minute")] = true
		}
		for range rapid.IntRange(1, 24).Draw(t, "hours") {
			hours[rapid.IntRange(0, 23).Draw(t, "hour")] = true
		}
		from, to := change.Add(-40*time.Hour), change.Add(40*time.Hour)
		want := slotsBetween(from, to, minutes, hours)
		p := PeriodicConfig{Specs: []string{fmt.Sprintf("%s %s * * *", list(minutes), list(hours))}, TimeZone: name}
		s, err := p.Schedule()
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for at := s.Next(from.Add(-time.Second)); at.Before(to); at = s.Next(at) {
			got = append(got, at.Unix())
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s around %v: %v, want %v", p.Specs, change, got, want)
		}
		at := from.Add(time.Duration(rapid.Int64Range(0, int64(80*time.Hour)-1).Draw(t, "at")))
		place, _ := slices.BinarySearch(want, at.Unix()+1)
		if next := s.Next(at); place < len(want) && next.Unix() != want[place] {
			t.Fatalf("%s after %v: %v, want %v", p.Specs, at, next, time.Unix(want[place], 0).In(zone))
		}
		last := s.Last(from.Add(-time.Second), at)
		if place == 0 != last.IsZero() || place > 0 && last.Unix() != want[place-1] {
			t.Fatalf("%s up to %v: %v, want the slot before number %d of %v", p.Specs, at, last, place, want)
		}
	})
}

func list(set map[int]bool) string {
	var words []string
	for n := range maps.Keys(set) {
		words = append(words, fmt.Sprint(n))
	}
	slices.Sort(words)
	return strings.Join(words, ",")
}

// Whatever the text is, it is read or refused at once, and its slots ascend.
func FuzzSchedule(f *testing.F) {
	f.Add("*/15 * * * *", "Europe/Berlin", int64(1_700_000_000))
	f.Add("0 0 0 LW * 5#3 2099", "UTC", int64(0))
	f.Add("59-0 * * * *", "Pacific/Apia", int64(1<<40))
	f.Add("* * * * 1-7/2,sun-SUN", "Asia/Kathmandu", int64(-1))
	f.Fuzz(func(t *testing.T, cron, zone string, at int64) {
		p := PeriodicConfig{Spec: cron, TimeZone: zone}
		s, err := p.Schedule()
		if err != nil {
			return
		}
		moment := time.Unix(at%(1<<40), 0)
		for range 5 {
			next := s.Next(moment)
			if next.IsZero() {
				break
			}
			if !next.After(moment) {
				t.Fatalf("%q in %q: after %v comes %v", cron, zone, moment, next)
			}
			if again := s.Last(moment, next); !again.Equal(next) {
				t.Fatalf("%q in %q: the last slot up to %v is %v", cron, zone, next, again)
			}
			moment = next
		}
	})
}
