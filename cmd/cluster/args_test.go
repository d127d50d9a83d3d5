package main

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestArrange(t *testing.T) {
	for _, c := range []struct {
		name, line, want string
	}{
		{"flags after arguments", "job run web.hcl -detach", "job run -detach -- web.hcl"},
		{"two dashes", "job run --detach web.hcl", "job run -detach -- web.hcl"},
		{"a value after a flag", "job run web.hcl -var a=b=c", "job run -var=a=b=c -- web.hcl"},
		{"a value that looks like a flag", "job run -var -x web.hcl", "job run -var=-x -- web.hcl"},
		{"a value after =", "job run --var=a=b web.hcl", "job run -var=a=b -- web.hcl"},
		{"a bool with a value", "job run web.hcl -detach=false", "job run -detach=false -- web.hcl"},
		{"standard input", "job run - -detach", "job run -detach -- -"},
		{"-- ends flags", "job run -detach -- -x.hcl -detach", "job run -detach -- -x.hcl -detach"},
		{"general flags before the command", "-address http://x:1 job status web", "job status -address=http://x:1 -- web"},
		{"flags between noun and verb", "job -namespace a status", "job status -namespace=a --"},
		{"a number after -tail", "alloc logs -tail 50 8d3c1f7a", "alloc logs -tail=50 -- 8d3c1f7a"},
		{"no number after -tail", "alloc logs -tail 8d3c1f7a", "alloc logs -tail -- 8d3c1f7a"},
		{"an ID of digits after -tail", "alloc logs -tail 12345678", "alloc logs -tail -- 12345678"},
		{"-n and -f", "logs -f -n 5 8d3c1f7a web", "logs -f -n=5 -- 8d3c1f7a web"},
		{"a word that is a command elsewhere", "job status help", "job status -- help"},
	} {
		t.Run(c.name, func(t *testing.T) {
			line, err := arrange(newSession(t).program(io.Discard, io.Discard).commands(nil), strings.Fields(c.line))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(line.argv, " "); got != c.want {
				t.Errorf("%s\nbecame %s\nwant   %s", c.line, got, c.want)
			}
		})
	}
}

// leaves are all commands that do something, with the words that name them.
func leaves(commands []*cli.Command, path []string, visit func(path []string, c *cli.Command)) {
	for _, c := range commands {
		here := append(slices.Clone(path), c.Name)
		if len(c.Subcommands) == 0 {
			visit(here, c)
		}
		leaves(c.Subcommands, here, visit)
	}
}

// TestFlagOrder gives every flag of every command once before and once after the arguments: both must mean the same.
func TestFlagOrder(t *testing.T) {
	p := newSession(t).program(io.Discard, io.Discard)
	leaves(p.commands(nil), nil, func(path []string, c *cli.Command) {
		for _, f := range c.Flags {
			for _, name := range f.Names() {
				flag := []string{"-" + name}
				if optionalNumber(f) {
					flag = []string{"-" + name, "7"}
				} else if takesValue(f) {
					flag = []string{"-" + name, "value"}
				}
				before, err1 := arrange(p.commands(nil), slices.Concat(path, flag, []string{"one", "two"}))
				after, err2 := arrange(p.commands(nil), slices.Concat(path, []string{"one", "two"}, flag))
				double, err3 := arrange(p.commands(nil), slices.Concat(path, []string{"one", "-" + flag[0]}, flag[1:], []string{"two"}))
				if err1 != nil || err2 != nil || err3 != nil {
					t.Errorf("%v %v: %v %v %v", path, flag, err1, err2, err3)
				}
				if !slices.Equal(before.argv, after.argv) || !slices.Equal(before.argv, double.argv) {
					t.Errorf("%v %v: %v, %v, %v", path, flag, before.argv, after.argv, double.argv)
				}
			}
		}
	})
}

// TestHelp asks every command for help: each has an example, and every example is a command line that can be read.
func TestHelp(t *testing.T) {
	s := newSession(t)
	p := s.program(io.Discard, io.Discard)
	leaves(p.commands(nil), nil, func(path []string, c *cli.Command) {
		for _, flag := range []string{"-h", "--help"} {
			out, status := s.run(append(slices.Clone(path), "some", "argument", flag)...)
			if status != 0 || !strings.Contains(out, "Usage: cluster "+strings.Join(path, " ")) {
				t.Errorf("%v %s: status %d\n%s", path, flag, status, out)
			}
			_, examples, found := strings.Cut(out, "Example:\n\n")
			if !found {
				t.Errorf("%v has no example", path)
				continue
			}
			examples, _, _ = strings.Cut(examples, "\n\n")
			for example := range strings.SplitSeq(examples, "\n") {
				example = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(example), "source <("), ")")
				words := fields(example)
				if words[0] != "cluster" {
					t.Errorf("%v: %q is no cluster command", path, example)
					continue
				}
				if line, err := arrange(p.commands(nil), words[1:]); err != nil || line.help || !slices.Contains(c.Names(), line.path[len(line.path)-1].Name) && !c.Hidden {
					t.Errorf("%v: example %q cannot be read as this command: %v", path, example, err)
				}
			}
		}
	})
	for _, group := range [][]string{nil, {"help"}, {"job"}, {"job", "-h"}, {"help", "alloc"}, {"-h"}} {
		if out, status := s.run(group...); status != 0 || !strings.Contains(out, "Commands\n") {
			t.Errorf("%v: status %d\n%s", group, status, out)
		}
	}
}

// TestEveryCommandAnswers runs every command with too many arguments, none of which may end the test's process.
func TestEveryCommandAnswers(t *testing.T) {
	s := newSession(t)
	s.agent = func(context.Context, agentStart) error { return nil }
	leaves(s.program(io.Discard, io.Discard).commands(nil), nil, func(path []string, c *cli.Command) {
		if strings.HasSuffix(c.ArgsUsage, "…") { // which takes any number
			return
		}
		want := exitError
		if c.Name == "plan" {
			want = exitPlanError
		}
		if out, status := s.run(append(slices.Clone(path), "a", "b", "c", "d")...); status != want || !strings.Contains(out, "too many") {
			t.Errorf("%v a b c d: status %d\n%s", path, status, out)
		}
	})
}

func TestClosest(t *testing.T) {
	words := []string{"start", "status", "stop", "run", "inspect"}
	for typed, want := range map[string]string{"stauts": "status", "stp": "stop", "rn": "run", "xyz": "", "": "", "inspct": "inspect", strings.Repeat("s", 1000): ""} {
		if got := closest(typed, words); got != want {
			t.Errorf("closest(%q) is %q, want %q", typed, got, want)
		}
	}
}
