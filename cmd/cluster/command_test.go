package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write what the commands print into testdata")

// session runs commands against a world, as one user would.
type session struct {
	world   *world
	env     map[string]string
	stdin   string
	size    terminalSize // zero: no terminal
	agent   func(context.Context, agentStart) error
	context context.Context
}

func newSession(t testing.TB) *session {
	w := newWorld(t)
	return &session{world: w, env: map[string]string{"CLUSTER_ADDR": w.server.URL}, context: context.Background(),
		agent: func(context.Context, agentStart) error { return nil }}
}

// run runs one command and returns what it printed, both outputs in order, and its status.
func (s *session) run(args ...string) (string, int) {
	var out bytes.Buffer
	status := s.program(&out, &out).Run(s.context, args)
	return strings.ReplaceAll(out.String(), s.world.server.URL, "http://agent.test"), status
}

func (s *session) program(stdout, stderr io.Writer) *program {
	return &program{
		stdin: strings.NewReader(s.stdin), stdout: stdout, stderr: stderr,
		getenv:   func(name string) string { return s.env[name] },
		now:      func() time.Time { return worldTime },
		terminal: func() (terminalSize, bool) { return s.size, s.size != terminalSize{} },
		agent:    s.agent,
	}
}

// TestScripts runs the sessions of testdata: lines that begin with "$ " are commands, with "% " changes of the world or
// of the user's surroundings, with "#" remarks; what follows a command is what it prints.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := newSession(t).script(t, string(want))
			if got == string(want) {
				return
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("%s: the session went otherwise (-rewrite stores it):\n%s", file, firstDifference(string(want), got))
		})
	}
}

func (s *session) script(t *testing.T, text string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case strings.HasPrefix(line, "#"):
			fmt.Fprintf(&b, "%s\n", line)
		case strings.HasPrefix(line, "% "):
			fmt.Fprintf(&b, "%s\n", line)
			s.do(t, line[2:])
		case strings.HasPrefix(line, "$ "):
			fmt.Fprintf(&b, "%s\n", line)
			words := fields(line[2:])
			if words[0] != "cluster" {
				t.Fatalf("%q is no cluster command", line)
			}
			out, status := s.run(words[1:]...)
			b.WriteString(out)
			if out != "" && !strings.HasSuffix(out, "\n") {
				b.WriteString("⏎\n")
			}
			if status != 0 {
				fmt.Fprintf(&b, "[exit %d]\n", status)
			}
			b.WriteString("\n")
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func (s *session) do(t *testing.T, what string) {
	verb, rest, _ := strings.Cut(what, " ")
	switch verb {
	case "env":
		name, value, _ := strings.Cut(rest, "=")
		s.env[name] = value
	case "stdin":
		s.stdin = strings.ReplaceAll(rest, `\n`, "\n")
	default:
		s.world.do(what)
	}
}

// fields splits a line as a shell does, as far as these scripts need it.
func fields(line string) []string {
	var words []string
	var word strings.Builder
	quote, begun := rune(0), false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, begun = r, true
		case quote == 0 && r == ' ':
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range g {
		if i >= len(w) || w[i] != g[i] {
			missing := "(nothing)"
			if i < len(w) {
				missing = w[i]
			}
			return fmt.Sprintf("line %d\nwant %s\n got %s\nall of it:\n%s", i+1, missing, g[i], got)
		}
	}
	return "the end is missing: " + strings.Join(w[len(g):], "\n")
}
