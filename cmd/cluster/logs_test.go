package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

func TestLastLines(t *testing.T) {
	for _, c := range []struct {
		text  string
		n     int
		want  string
		found bool
	}{
		{"", 3, "", false},
		{"a\nb\nc\n", 2, "b\nc\n", true},
		{"a\nb\nc", 2, "b\nc", true},
		{"a\nb\n", 2, "a\nb\n", false},
		{"a\n\n\n", 2, "\n\n", true},
		{"long", 1, "long", false},
	} {
		got, found := lastLines([]byte(c.text), c.n)
		if string(got) != c.want || found != c.found {
			t.Errorf("lastLines(%q, %d) is %q, %t, want %q, %t", c.text, c.n, got, found, c.want, c.found)
		}
	}
}

func TestPosition(t *testing.T) {
	files := []cluster.FileEntry{{Name: "web.stdout.2", Size: 100}, {Name: "web.stdout.3", Size: 100}, {Name: "web.stdout.4", Size: 30},
		{Name: "web.stderr.3", Size: 7}, {Name: "other.stdout.3", Size: 7}}
	for _, c := range []struct {
		file   string
		offset int64
		want   int64
		gone   bool
	}{
		{"", 0, 0, false},
		{"alloc/logs/web.stdout.2", 5, 5, false},
		{"alloc/logs/web.stdout.4", 5, 205, false},
		{"alloc/logs/web.stdout.1", 5, 0, true},
		{"nonsense", 5, 0, true},
	} {
		got, gone := position(files, "web.stdout.", c.file, c.offset)
		if got != c.want || gone != c.gone {
			t.Errorf("position of %d in %q is %d, %t, want %d, %t", c.offset, c.file, got, gone, c.want, c.gone)
		}
	}
}

// A follower that reconnects while the files are rotated must not take the start of a later file for what comes next.
func TestLogsContinue(t *testing.T) {
	l := &logReader{task: "web", stream: "stdout", file: "alloc/logs/web.stdout.3", offset: 70}
	files := []cluster.FileEntry{{Name: "web.stdout.3", Size: 100}, {Name: "web.stdout.4", Size: 100}, {Name: "web.stdout.5", Size: 30}, {Name: "web.stderr.4", Size: 7}}
	read := slices.Clone(files)
	read[0].Size = 70
	for _, c := range []struct {
		name  string
		files []cluster.FileEntry
		file  string
		begin int64
		want  bool
	}{
		{"the same file", files, "alloc/logs/web.stdout.3", 70, true},
		{"the same file, other place", files, "alloc/logs/web.stdout.3", 60, false},
		{"the next, this one read", read, "alloc/logs/web.stdout.4", 0, true},
		{"the next, this one not read", files, "alloc/logs/web.stdout.4", 0, false},
		{"the next, not from its start", read, "alloc/logs/web.stdout.4", 1, false},
		{"one left out", read, "alloc/logs/web.stdout.5", 0, false},
		{"this one and the next have gone", files[2:], "alloc/logs/web.stdout.5", 0, true},
		{"an earlier one", files, "alloc/logs/web.stdout.2", 0, false},
	} {
		first := cluster.FileFrame{File: c.file, Offset: c.begin + 3, Data: []byte("abc")}
		if got := l.continues(c.files, first); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

// collector tells when what was printed contains a text.
type collector struct {
	text  bytes.Buffer
	until string
	reach func()
}

func (c *collector) Write(p []byte) (int, error) {
	c.text.Write(p)
	if c.until != "" && strings.Contains(c.text.String(), c.until) {
		c.until = ""
		c.reach()
	}
	return len(p), nil
}

// A follower whose connection breaks in the middle of a file goes on at the same byte, over rotated files.
func TestLogsFollowGoesOn(t *testing.T) {
	s := newSession(t)
	s.run("run", "-detach", "testdata/jobs/web.hcl")
	s.world.do("settle")
	var lines strings.Builder
	for range 20 {
		lines.WriteString("a line of text\\n")
	}
	s.world.do("write server.stdout " + lines.String())
	for _, start := range []struct {
		args string
		want int // lines of those written before
	}{{"", 20}, {"-tail 3", 3}, {"-c 30", 2}} {
		for _, cut := range []string{"cut 30", "cut 64", "cut 295", "cut 310"} {
			s.world.do(cut)
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			out := &collector{until: "end\n", reach: stop}
			waiting := &collector{}
			seen := &collector{until: "text\n", reach: func() { s.world.do("write server.stdout more\\nend\\n") }}
			status := s.program(tee{out, seen}, waiting).Run(ctx, strings.Fields("logs -f -stdout 800005 "+start.args))
			stop()
			got := out.text.String()
			want := strings.Repeat("a line of text\n", start.want) + "more\nend\n"
			if status != exitDone || got != want {
				t.Errorf("%s %s: status %d, printed\n%s%swant\n%s", start.args, cut, status, got, waiting.text.String(), want)
			}
			s.world.mu.Lock()
			s.world.output["server.stdout"] = strings.ReplaceAll(lines.String(), `\n`, "\n")
			s.world.mu.Unlock()
		}
	}
}

// tee writes to both, the first before the second.
type tee struct{ a, b *collector }

func (w tee) Write(p []byte) (int, error) {
	_, _ = w.a.Write(p)
	return w.b.Write(p)
}
