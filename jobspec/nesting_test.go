package jobspec

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// What the bytes of a file are enough for, the tokens are not asked for: so it is with all files that people write.
func TestOutlined(t *testing.T) {
	files, err := filepath.Glob("testdata/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no job files: %v", err)
	}
	byBytes := 0
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if outlined(text) {
			byBytes++
		}
	}
	if byBytes < len(files)*2/3 {
		t.Errorf("only %d of %d files are read by their bytes", byBytes, len(files))
	}
	for text, want := range map[string]bool{
		"":                                true,
		"a = \"}${b}{\"\n":                true,
		"a = \"\\\"}\"\n":                 true,
		"# {\n// {\n/* {\n{ */\n":         true,
		"a = <<E\n${b}\n}{ \"\n E\n":      true,
		"a = <<-E\nE${b}\n${b}E\nE\n{}":   true,
		"a = \"${<<E\n}\nE\n}\"\n":        true,
		"a = \"${\"${b}\"}\"\n":           true,
		"a = \"100%, $5\"\n":              true,
		"a = {":                           false,
		"a = ]":                           false,
		"a = \"b":                         false,
		"a = <<E\n":                       false,
		"a = \"$${b}\"":                   false, // rare
		"a = <<E\n${<<F\nF\n}\nE\n":       false, // rare
		strings.Repeat("[", 101):          false,
		strings.Repeat("a {\n}\n", 10001): false,
		strings.Repeat("!", 5001):         false,
	} {
		if have := outlined([]byte(text)); have != want {
			t.Errorf("%.40q: %t", text, have)
		}
	}
}

// What bytes are enough for, tokens must not refuse.
func FuzzOutlined(f *testing.F) {
	files, err := filepath.Glob("testdata/*.hcl")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("{{{{000\xca}\"\"}}}"))
	f.Add([]byte("a = <<-E\r\n ${b}E\r\n%{~if c}\r\nE\r\n"))
	f.Add([]byte("a = \"\\\"$${%%{\\${\" /* \" */ # \"\nb = [<<E\n\"\nE\n]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		o, deepest := outline{text: text}, 0
		for o.at < len(text) {
			if !o.step() {
				return
			}
			deepest = max(deepest, len(o.open))
		}
		if len(o.open) > 0 {
			return
		}
		tokens, _ := hclsyntax.LexConfig(text, "f", hcl.InitialPos)
		var n nesting
		for _, token := range tokens {
			if n.add(token.Type); len(n.open) > deepest {
				t.Fatalf("%s: the tokens are nested %d deep, the bytes %d", token.Range, len(n.open), deepest)
			}
		}
		if n.operators > o.operators || n.blocks > o.blocks {
			t.Errorf("the tokens have %d operators and %d blocks, the bytes %d and %d", n.operators, n.blocks, o.operators, o.blocks)
		}
	})
}

// What passes the check is parsed with little stack, whatever is wrong with it.
func TestNestingBoundsTheStack(t *testing.T) {
	defer debug.SetMaxStack(debug.SetMaxStack(64 << 20)) // more ends the program
	for _, text := range []string{
		strings.Repeat("b{\nx}\n", maxBlocks-1),
		"a = " + strings.Repeat("!", maxOperators) + "b\n",
		"a = " + strings.Repeat("b ? c : ", maxOperators) + "d\n",
		"a = b" + strings.Repeat("[c].d", maxOperators) + "\n",
		"a = \"" + strings.Repeat("%{if b}", maxOperators) + "\"\n",
		"a = " + strings.Repeat("[", maxNesting) + "\n",
		`{"a": "` + "\n" + `, "b": ` + strings.Repeat("[", maxBrackets-1),
	} {
		job := "job \"x\" {}\n"
		if text[0] == '{' {
			job = ""
		}
		_, err := Parse(Config{File: File{"f.hcl", []byte(job + text)}})
		if err == nil || !strings.Contains(err.Error(), "f.hcl:") {
			t.Errorf("%.20q: %.200v", text, err)
		}
		if strings.Contains(err.Error(), "Too many") || strings.Contains(err.Error(), "Nested") {
			t.Errorf("%.20q does not reach the parser: %.200v", text, err)
		}
	}
}
