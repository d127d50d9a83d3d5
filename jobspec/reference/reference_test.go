package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPagesAreCurrent: `go generate` would change nothing.
func TestPagesAreCurrent(t *testing.T) {
	pages, err := generate(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range pages {
		have, err := os.ReadFile(name)
		if err != nil || string(have) != string(want) {
			t.Errorf("%s is not what the types say (%v): run go generate in the root of the project", name, err)
		}
	}
}

// TestEveryFieldIsExplained: a field without a meaning helps nobody.
func TestEveryFieldIsExplained(t *testing.T) {
	pages, err := generate(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(pages[filepath.Join("..", "..", "docs", "job-specification.md")])) {
		if strings.HasPrefix(line, "| `") && strings.HasSuffix(strings.TrimSpace(line), "|  |") {
			t.Errorf("no meaning: %s", line)
		}
	}
}
