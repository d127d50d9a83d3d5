package jobspec

import (
	"math"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// yamlCost is at least how long a text in YAML is with its aliases written out: a few lines may unfold into more than any
// machine has.
func yamlCost(args []cty.Value) int {
	if args[0].IsNull() || !args[0].IsKnown() || args[0].Type() != cty.String {
		return 0
	}
	u := unfolding{weights: map[string]int{}}
	for line := range strings.Lines(args[0].AsString()) {
		if text := strings.TrimSpace(line); text == "" || strings.HasPrefix(text, "#") && u.depth == 0 {
			continue
		}
		u.line(line)
	}
	return u.total
}

// unfolding reads YAML as far as is needed to know how much the node behind each anchor holds.
type unfolding struct {
	total   int            // bytes up to here, with aliases unfolded
	depth   int            // of brackets
	open    []anchor       // whose nodes have not ended
	weights map[string]int // of nodes that have
}

type anchor struct {
	name   string
	start  int  // the total at its beginning
	indent int  // of its line
	dashed bool // its line begins with a dash
	depth  int
}

func (u *unfolding) line(line string) {
	indent := len(line) - len(strings.TrimLeft(line, " "))
	dashed := strings.HasPrefix(line[indent:], "-")
	if u.depth == 0 {
		u.close(func(a anchor) bool { return indent < a.indent || indent == a.indent && (a.dashed || !dashed) })
	}
	for i := indent; i < len(line); i++ {
		u.total = min(u.total+1, math.MaxInt32)
		fresh := i == indent || strings.IndexByte(" \t[{,:", line[i-1]) >= 0 // a token may begin here
		switch c := line[i]; {
		case c == '&' && fresh:
			u.open = append(u.open, anchor{yamlName(line[i+1:]), u.total, indent, dashed, u.depth})
		case c == '*' && fresh:
			u.total = min(u.total+u.weight(yamlName(line[i+1:])), math.MaxInt32)
		case (c == '[' || c == '{') && fresh:
			u.depth++
		case (c == ']' || c == '}') && u.depth > 0:
			u.depth--
			u.close(func(a anchor) bool { return a.depth > u.depth })
		case c == ',' && u.depth > 0:
			u.close(func(a anchor) bool { return a.depth >= u.depth })
		case (c == '"' || c == '\'') && fresh:
			if end := strings.IndexByte(line[i+1:], c); end >= 0 {
				u.total += end + 1
				i += end + 1
			}
		}
	}
}

// close ends the nodes of anchors. Those of one name that come later count.
func (u *unfolding) close(ends func(anchor) bool) {
	kept := u.open[:0]
	for _, a := range u.open {
		if ends(a) {
			u.weights[a.name] = u.total - a.start
		} else {
			kept = append(kept, a)
		}
	}
	u.open = kept
}

func (u *unfolding) weight(name string) int {
	weight := u.weights[name]
	for _, a := range u.open {
		if a.name == name {
			weight = max(weight, u.total-a.start)
		}
	}
	return weight
}

func yamlName(text string) string {
	if end := strings.IndexAny(text, " \t\r\n,[]{}"); end >= 0 {
		return text[:end]
	}
	return text
}
