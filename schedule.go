package cluster

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/cronexpr"
)

const (
	maxCrons      = 64  // expressions of a schedule
	maxCronLength = 500 // bytes of one
)

// Schedule is the moments, its slots, at which a periodic job is launched. It never changes.
//
// Its expressions are read in the local time of its time zone, and a slot is named by its local time, to the second.
// Where clocks are turned back, a local time that comes twice is one slot: the first of the two moments. Where they are
// turned forward, a local time that does not come is the first moment after the change; several of them are one slot.
// So what is due every 15 minutes of local time has a break of an hour in autumn: in UTC, the default, there is none.
type Schedule struct {
	crons []cronexpr.Expression
	zone  *time.Location
}

// Schedule reads the job's expressions and time zone. The error says what is wrong with them.
func (p *PeriodicConfig) Schedule() (*Schedule, error) {
	texts := p.Specs
	if p.Spec != "" {
		texts = append(slices.Clone(texts), p.Spec)
	}
	if len(texts) == 0 || len(texts) > maxCrons {
		return nil, Errorf(CodeInvalid, "read schedule: want 1 to %d cron expressions, have %d", maxCrons, len(texts))
	}
	s := new(Schedule)
	for _, text := range texts {
		cron, err := parseCron(text)
		if err != nil {
			return nil, err
		}
		s.crons = append(s.crons, *cron)
	}
	var err error
	if s.zone, err = loadZone(p.TimeZone); err != nil {
		return nil, err
	}
	return s, nil
}

// loadZone is the time zone of a name.
func loadZone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, Errorf(CodeInvalid, `read time zone "Local": each server has its own; name one such as "Europe/Berlin"`)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, Errorf(CodeInvalid, `read time zone %s: there is none of that name; write one such as "Europe/Berlin"`, quote(name))
	}
	return zone, nil
}

// parseCron reads an expression that has a slot, at some time.
func parseCron(text string) (*cronexpr.Expression, error) {
	if len(text) > maxCronLength {
		return nil, Errorf(CodeInvalid, "read cron expression %s…: it is %d bytes long, the limit is %d", quote(text), len(text), maxCronLength)
	}
	fields := strings.Fields(text)
	days := len(fields) - 1 // the place of the day of the week: last, but for a year
	if len(fields) > 5 {
		days = min(len(fields), 7) - 2
	}
	for i, field := range fields {
		plain, err := plainRanges(field, i == days)
		if err != nil {
			return nil, Errorf(CodeInvalid, "read cron expression %s: %w", quote(text), err)
		}
		fields[i] = plain
	}
	cron, err := cronexpr.Parse(strings.Join(fields, " "))
	if err != nil {
		return nil, Errorf(CodeInvalid, `read cron expression %s: %w; write 5 to 7 fields such as "*/15 * * * *", or @daily`, quote(text), err)
	}
	if cron.Next(time.Unix(1, 0).UTC()).IsZero() {
		return nil, Errorf(CodeInvalid, "read cron expression %s: it names a time that never comes", quote(text))
	}
	return cron, nil
}

// cronSurplus reports whether the expression says more than is read of it: 7 fields, or one word.
func cronSurplus(text string) bool {
	fields := strings.Fields(text)
	return len(fields) > 7 || len(fields) > 1 && strings.HasPrefix(fields[0], "@")
}

// cronNames are the names that stand for numbers in cron expressions, by their first three letters.
var cronNames = map[string]int{
	"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
	"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6,
}

// plainRanges rewrites what the library reads wrongly: a range of days that ends with Sunday (it would lose it), and
// refuses a range that ends before it begins (it would be empty, and the next slot be looked for without end).
func plainRanges(field string, days bool) (string, error) {
	parts := strings.Split(field, ",")
	for i, part := range parts {
		from, to, ok := strings.Cut(part, "-")
		if !ok {
			continue
		}
		to, step, stepped := strings.Cut(to, "/")
		first, known := cronNumber(from)
		last, too := cronNumber(to)
		if !known || !too {
			continue // no range, or one that the library refuses
		}
		if days && last == 0 {
			last = 7
		}
		if first > last {
			return "", fmt.Errorf("the range %s ends before it begins", quote(part))
		}
		if !days || last != 7 {
			continue
		}
		by, err := strconv.Atoi(step)
		if stepped && (err != nil || by < 1) {
			continue // the library says what is wrong
		}
		var each []string
		for day := first; day <= last; day += max(by, 1) {
			each = append(each, strconv.Itoa(day%7))
		}
		parts[i] = strings.Join(each, ",")
	}
	return strings.Join(parts, ","), nil
}

func cronNumber(text string) (int, bool) {
	if n, err := strconv.Atoi(text); err == nil {
		return n, true
	}
	if len(text) < 3 {
		return 0, false
	}
	n, ok := cronNames[strings.ToLower(text[:3])]
	return n, ok
}

// Next is the first slot after the moment, zero if there is none any more.
func (s *Schedule) Next(after time.Time) time.Time {
	wall := s.wallAt(after)
	var first time.Time
	for _, cron := range s.crons { // a copy: Next writes into it
		if next := cron.Next(wall); !next.IsZero() && (first.IsZero() || next.Before(first)) {
			first = next
		}
	}
	if first.IsZero() {
		return first
	}
	return s.moment(first)
}

// Last is the last slot that is after one moment and not after the other, zero if there is none.
func (s *Schedule) Last(after, until time.Time) time.Time {
	come := func(next time.Time) bool { return !next.IsZero() && !next.After(until) }
	slot := s.Next(after)
	if !come(slot) {
		return time.Time{}
	}
	if !come(s.Next(slot)) {
		return slot
	}
	low, high := slot.Unix(), until.Unix() // a slot that has come follows low, none follows high
	for high-low > 1 {
		if middle := low + (high-low)/2; come(s.Next(time.Unix(middle, 0))) {
			low = middle
		} else {
			high = middle
		}
	}
	return s.Next(time.Unix(low, 0))
}

// Local times are kept as if they were times of UTC, where all of them come once.

// wallAt is the latest local time whose moment is not after the given one.
func (s *Schedule) wallAt(at time.Time) time.Time {
	at = time.Unix(at.Unix(), 0).In(s.zone)
	wall := wallOf(at)
	if began, _ := at.ZoneBounds(); !began.IsZero() {
		_, before := began.Add(-time.Second).Zone()
		again := time.Unix(began.Unix()+int64(before), 0).UTC() // the first local time that comes only after the change
		if wall.Before(again) {
			wall = again.Add(-time.Second)
		}
	}
	return wall
}

// moment is the one at which a local time comes, as the comment of Schedule has it.
func (s *Schedule) moment(wall time.Time) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, s.zone)
	began, ends := t.ZoneBounds()
	shown := wallOf(t)
	switch {
	case shown.After(wall): // it does not come, and t is after the change
		return began
	case shown.Before(wall): // … before
		return ends
	case began.IsZero():
		return t
	}
	_, offset := t.Zone()
	_, before := began.Add(-time.Second).Zone()
	if first := t.Add(time.Duration(offset-before) * time.Second); before > offset && first.Before(began) {
		return first
	}
	return t
}

// wallOf is the local time that clocks show at a moment.
func wallOf(t time.Time) time.Time {
	_, offset := t.Zone()
	return time.Unix(t.Unix()+int64(offset), 0).UTC()
}
