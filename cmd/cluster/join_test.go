package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTheJoinTokenLeavesTheCommandLine(t *testing.T) {
	for line, want := range map[string]string{
		"agent -join TOKEN -name n":     "agent -name n",
		"agent --join=TOKEN -name n":    "agent -name n",
		"agent -name n -join -":         "agent -name n",
		"agent -name n":                 "agent -name n",
		"agent -joint x -- -join TOKEN": "agent -joint x -- -join TOKEN",
	} {
		if got := withoutJoin(strings.Fields(line)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%q becomes %q", line, got)
		}
	}
}

func TestJoinTokensComeFromWhereverTheyAre(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("in the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args    []string
		env     string
		want    string
		visible bool
	}{
		{[]string{"-join", "TOKEN"}, "", "TOKEN", true},
		{[]string{"-join", "TOKEN"}, "ANOTHER", "TOKEN", true},
		{[]string{"-join", "@" + file}, "", "in the file\n", false},
		{[]string{"-join", "-"}, "", "typed", false},
		{nil, "TOKEN", "TOKEN", true},
		{nil, "", "", false},
	} {
		s := newSession(t)
		s.env[envJoin], s.stdin = test.env, "typed"
		var got agentStart
		s.agent = func(_ context.Context, start agentStart) error { got = start; return nil }
		out, status := s.run(append([]string{"agent", "-data-dir", t.TempDir()}, test.args...)...)
		text, err := got.Join.read()
		getenv := func(name string) string { return s.env[name] }
		if status != exitDone || err != nil || text != test.want || got.Join.visible(getenv) != test.visible {
			t.Errorf("%q with %q: %q, visible %v, %v, status %d:\n%s", test.args, test.env, text, got.Join.visible(getenv), err, status, out)
		}
	}
	for _, args := range [][]string{{"-dev", "-join", "x"}, {"-bootstrap", "-join", "x"}, {"-join", ""}} {
		s := newSession(t)
		if out, status := s.run(append([]string{"agent", "-data-dir", t.TempDir()}, args...)...); status != exitError || !strings.Contains(out, "read flag -join") || strings.Contains(out, " x") {
			t.Errorf("%q: status %d, %s", args, status, out)
		}
	}
}
