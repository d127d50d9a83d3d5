package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster/jobspec"
)

const root = "../.."

// fenced is a block of code in a page.
type fenced struct {
	at       string // page:line of its first line
	language string
	text     string
}

// fences are the blocks of a page that name their language.
func fences(page, text string) []fenced {
	var all []fenced
	var open *fenced
	for i, line := range strings.Split(text, "\n") {
		language, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && open == nil:
			open = &fenced{at: fmt.Sprintf("%s:%d", page, i+2), language: language}
		case fence:
			all, open = append(all, *open), nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	return all
}

// pages are the texts for people, by their path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name, _ := filepath.Rel(root, file)
			all[name] = read(t, name)
		}
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocs holds everything that the pages and examples show against the program: job files are jobs, configurations are
// without warnings, command lines are ones, targets of make and files that are linked are there.
func TestDocs(t *testing.T) {
	count := map[string]int{}
	for page, text := range pages(t) {
		for _, block := range fences(page, text) {
			count[block.language]++
			switch block.language {
			case "hcl":
				checkHCL(t, block.at, block.text)
			case "sh":
				checkShell(t, block.at, block.text)
			}
		}
		checkLinks(t, page, text)
	}
	if count["hcl"] < 2 || count["sh"] < 3 {
		t.Errorf("the pages have %v blocks", count)
	}
	examples, err := filepath.Glob(filepath.Join(root, "examples", "*"))
	if err != nil || len(examples) == 0 {
		t.Fatalf("%d examples, %v", len(examples), err)
	}
	for _, file := range examples {
		name, _ := filepath.Rel(root, file)
		switch filepath.Ext(name) {
		case ".hcl":
			text := read(t, name)
			checkHCL(t, name, text)
			checkShell(t, name, commented(text))
		case ".service":
			_, start, _ := strings.Cut(read(t, name), "ExecStart=/usr/local/bin/")
			checkShell(t, name, start[:strings.Index(start, "\n")+1])
		}
	}
}

// TestConfigExample holds the README's configuration against the file that it says it is.
func TestConfigExample(t *testing.T) {
	file := read(t, "examples/cluster.hcl")
	_, file, _ = strings.Cut(file, "\n\n") // its first comment
	if !strings.Contains(read(t, "README.md"), file) {
		t.Error("README.md and examples/cluster.hcl differ")
	}
}

// commented are the command lines in a file's comments.
func commented(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if line, ok := strings.CutPrefix(line, "#"); ok && strings.HasPrefix(line, "\t") {
			out.WriteString(strings.TrimSpace(line) + "\n")
		}
	}
	return out.String()
}

var jobBlock = regexp.MustCompile(`(?m)^job "`)

func checkHCL(t *testing.T, at, text string) {
	t.Helper()
	if jobBlock.MatchString(text) {
		name := filepath.Join(t.TempDir(), "example.hcl")
		if _, err := jobspec.Parse(jobspec.Config{File: jobspec.File{Name: name, Text: []byte(text)}, Dirs: []string{root}}); err != nil {
			t.Errorf("%s: %v", at, err)
		}
		return
	}
	config := defaultAgentConfig(false, machine{hostname: "example", root: true})
	decoder := &configDecoder{}
	if err := config.decode(decoder, at, []byte(text)); err != nil {
		t.Errorf("%s: %v", at, err)
	} else if err := config.finish(); err != nil {
		t.Errorf("%s: %v", at, err)
	}
	for _, warning := range decoder.warnings {
		t.Errorf("%s: an example warns: %s", at, warning)
	}
}

// checkShell holds each command of a script against what there is.
func checkShell(t *testing.T, at, text string) {
	t.Helper()
	p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard, getenv: func(string) string { return "" }, now: time.Now}
	makefile := read(t, "Makefile")
	for line := range strings.Lines(text) {
		words := slices.DeleteFunc(shellWords(line), func(w string) bool { return w == "$CLUSTER_FLAGS" }) // of the unit
		for len(words) > 0 && strings.Contains(words[0], "=") {                                            // variables of the command
			words = words[1:]
		}
		if len(words) > 2 && words[0] == "source" { // <(command)
			words = append([]string{strings.TrimPrefix(words[1], "<(")}, strings.Fields(strings.TrimSuffix(strings.Join(words[2:], " "), ")"))...)
		}
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "cluster":
			app := p.app(words[1:])
			parsed, err := arrange(app.Commands, words[1:])
			if err != nil {
				t.Errorf("%s: %s: %v", at, strings.TrimSpace(line), err)
			} else if parsed.help && !slices.Contains(words, "-h") {
				t.Errorf("%s: %s: names no command that does something", at, strings.TrimSpace(line))
			}
		case "make":
			for _, target := range words[1:] {
				if !strings.Contains(makefile, "\n"+target+":") {
					t.Errorf("%s: there is no target %s", at, target)
				}
			}
		}
		for _, word := range words {
			if strings.HasPrefix(word, "examples/") {
				checkFile(t, at, word)
			}
		}
	}
}

// shellWords splits a simple command as a shell does, up to a comment or whatever follows the command.
func shellWords(line string) []string {
	var words []string
	var word strings.Builder
	var quote rune
	begun := false
	end := func() {
		if begun {
			words = append(words, word.String())
		}
		word.Reset()
		begun = false
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case r == '#' && !begun, r == '|', r == ';', r == '>', r == '&':
			end()
			return words
		case r == ' ' || r == '\t' || r == '\n':
			end()
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	end()
	return words
}

var pageLink = regexp.MustCompile(`\]\(([^)#]+)`)

func checkLinks(t *testing.T, page, text string) {
	t.Helper()
	for _, link := range pageLink.FindAllStringSubmatch(text, -1) {
		if !strings.Contains(link[1], "://") {
			checkFile(t, page, filepath.Join(filepath.Dir(page), link[1]))
		}
	}
}

func checkFile(t *testing.T, at, name string) {
	t.Helper()
	if _, err := fs.Stat(os.DirFS(root), filepath.ToSlash(name)); err != nil {
		t.Errorf("%s names %s: %v", at, name, err)
	}
}
