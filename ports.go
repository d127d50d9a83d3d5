package cluster

import (
	"slices"
	"strconv"
	"strings"
)

// MaxPort is the highest port number.
const MaxPort = 65535

// PortRange is a run of ports, both ends included.
type PortRange struct{ First, Last uint16 }

// PortSet is a set of ports: runs in ascending order that neither overlap nor touch. The zero value is empty.
// A set is never modified: With and Without return another.
type PortSet []PortRange

// ParsePorts reads a list of ports and ranges such as "22,80-90". Spaces are allowed, "" is the empty set.
func ParsePorts(text string) (PortSet, error) {
	var runs PortSet
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(part, "-")
		first, err := parsePort(low)
		if err != nil {
			return nil, err
		}
		last := first
		if isRange {
			if last, err = parsePort(high); err != nil {
				return nil, err
			}
		}
		if last < first {
			return nil, Errorf(CodeInvalid, "parse ports %.40q: the range ends before it begins", strings.TrimSpace(part))
		}
		runs = append(runs, PortRange{first, last})
	}
	return normal(runs), nil
}

func parsePort(text string) (uint16, error) {
	text = strings.TrimSpace(text)
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, Errorf(CodeInvalid, "parse port %.20q: want a number from 1 to %d", text, MaxPort)
	}
	return uint16(n), nil
}

// normal sorts the runs in place and joins those that overlap or touch.
func normal(runs PortSet) PortSet {
	slices.SortFunc(runs, func(a, b PortRange) int { return int(a.First) - int(b.First) })
	joined := runs[:0]
	for _, r := range runs {
		if n := len(joined); n > 0 && int(r.First) <= int(joined[n-1].Last)+1 {
			joined[n-1].Last = max(joined[n-1].Last, r.Last)
			continue
		}
		joined = append(joined, r)
	}
	return joined
}

// String is the form that ParsePorts reads.
func (s PortSet) String() string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(int(r.First)))
		if r.Last > r.First {
			b.WriteString("-" + strconv.Itoa(int(r.Last)))
		}
	}
	return b.String()
}

// after is the position of the first run that ends at the port or beyond it.
func (s PortSet) after(port int) int {
	low, high := 0, len(s)
	for low < high {
		if mid := (low + high) / 2; int(s[mid].Last) < port {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// Has reports whether the port is in the set.
func (s PortSet) Has(port int) bool {
	i := s.after(port)
	return i < len(s) && int(s[i].First) <= port
}

// With is the set with the port in it.
func (s PortSet) With(port int) PortSet {
	if s.Has(port) {
		return s
	}
	run := PortRange{uint16(port), uint16(port)}
	from := s.after(port - 1)
	to := from
	if to < len(s) && int(s[to].Last) == port-1 {
		run.First = s[to].First
		to++
	}
	if to < len(s) && int(s[to].First) == port+1 {
		run.Last = s[to].Last
		to++
	}
	return s.splice(from, to, run)
}

// Without is the set without the port.
func (s PortSet) Without(port int) PortSet {
	if !s.Has(port) {
		return s
	}
	i := s.after(port)
	var rest PortSet
	if r := s[i]; int(r.First) < port {
		rest = append(rest, PortRange{r.First, uint16(port - 1)})
	}
	if r := s[i]; int(r.Last) > port {
		rest = append(rest, PortRange{uint16(port + 1), r.Last})
	}
	return s.splice(i, i+1, rest...)
}

// splice is a copy of the set with the runs in place of those from..to-1.
func (s PortSet) splice(from, to int, runs ...PortRange) PortSet {
	next := make(PortSet, 0, len(s)-(to-from)+len(runs))
	next = append(next, s[:from]...)
	next = append(next, runs...)
	return append(next, s[to:]...)
}

// NextFree is the lowest port of first..last that is not in the set, 0 if all are.
func (s PortSet) NextFree(first, last int) int {
	i := s.after(first)
	if i < len(s) && int(s[i].First) <= first {
		first = int(s[i].Last) + 1
	}
	if first > last {
		return 0
	}
	return first
}

// Count is the number of ports of first..last in the set.
func (s PortSet) Count(first, last int) int {
	if first > last {
		return 0
	}
	n := 0
	for i := s.after(first); i < len(s) && int(s[i].First) <= last; i++ {
		n += min(last, int(s[i].Last)) - max(first, int(s[i].First)) + 1
	}
	return n
}
