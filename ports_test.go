package cluster

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParsePorts(t *testing.T) {
	for _, row := range []struct{ text, want, err string }{
		{"", "", ""},
		{"  ", "", ""},
		{"22", "22", ""},
		{"22,80-90", "22,80-90", ""},
		{" 80 - 90 , 22 ", "22,80-90", ""},
		{"5-7,1-3,4", "1-7", ""},
		{"1-10,3-4,10-12", "1-12", ""},
		{"65535,1", "1,65535", ""},
		{"0", "", `parse port "0": want a number from 1 to 65535`},
		{"65536", "", `parse port "65536": want a number from 1 to 65535`},
		{"a", "", `parse port "a": want a number from 1 to 65535`},
		{"22,", "", `parse port "": want a number from 1 to 65535`},
		{"1-2-3", "", `parse port "2-3": want a number from 1 to 65535`},
		{"90-80", "", `parse ports "90-80": the range ends before it begins`},
	} {
		got, err := ParsePorts(row.text)
		failure := ""
		if err != nil {
			failure = err.Error()
		}
		if failure != row.err || got.String() != row.want {
			t.Errorf("ParsePorts(%q) = %q, %q; want %q, %q", row.text, got, failure, row.want, row.err)
		}
	}
}

func FuzzParsePorts(f *testing.F) {
	for _, seed := range []string{"", "22,80-90", "1-65535", "9-8", ",", "-", "00022", "1,2,3,2-9"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := ParsePorts(text)
		if err != nil {
			if CodeOf(err) != CodeInvalid {
				t.Fatalf("ParsePorts(%q): code of %v is not invalid", text, err)
			}
			return
		}
		again, err := ParsePorts(set.String())
		if err != nil || again.String() != set.String() {
			t.Fatalf("%q became %q, and that %q (%v)", text, set, again, err)
		}
		for i, r := range set {
			if r.First > r.Last || i > 0 && int(set[i-1].Last)+1 >= int(r.First) {
				t.Fatalf("%q has touching runs", set)
			}
		}
		if strings.TrimSpace(text) != "" && len(set) == 0 {
			t.Fatalf("%q gave the empty set", text)
		}
	})
}

// A set of runs behaves like a plain set of numbers.
func TestPortSetIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var set PortSet
		model := map[int]bool{}
		near := rapid.OneOf(rapid.IntRange(1, 12), rapid.IntRange(MaxPort-5, MaxPort))
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			port := near.Draw(t, "port")
			before := set.String()
			old := set
			if rapid.Bool().Draw(t, "add") {
				set, model[port] = set.With(port), true
			} else {
				set = set.Without(port)
				delete(model, port)
			}
			if old.String() != before {
				t.Fatalf("changing %s at %d modified it into %s", before, port, old)
			}
		}
		parsed, err := ParsePorts(set.String())
		if err != nil || parsed.String() != set.String() {
			t.Fatalf("%s reads as %s (%v)", set, parsed, err)
		}
		first, last := near.Draw(t, "first"), near.Draw(t, "last")
		count, free := 0, 0
		for port := first; port <= last; port++ {
			if model[port] {
				count++
			} else if free == 0 {
				free = port
			}
			if set.Has(port) != model[port] {
				t.Fatalf("%s.Has(%d) is %t", set, port, set.Has(port))
			}
		}
		if got := set.Count(first, last); got != count {
			t.Fatalf("%s.Count(%d, %d) = %d, want %d", set, first, last, got, count)
		}
		if got := set.NextFree(first, last); got != free {
			t.Fatalf("%s.NextFree(%d, %d) = %d, want %d", set, first, last, got, free)
		}
	})
}
