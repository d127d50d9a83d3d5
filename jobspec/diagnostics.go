package jobspec

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

// maxDiagnostics is how many problems are shown; a file of nonsense has thousands.
const maxDiagnostics = 50

// Diagnostic is one thing to say about a job file.
type Diagnostic struct {
	File         string
	Line, Column int    // counted from 1
	Text         string // complete, without place
	Source       string // the line of the file, "" if it is not known

	where string // the place as it is shown: file:line,column-column
}

// String is the problem with its place and its line.
func (d Diagnostic) String() string {
	text := d.where + ": " + d.Text
	if d.Source != "" {
		text += fmt.Sprintf("\n%6d | %s", d.Line, d.Source)
	}
	return text
}

// Diagnostics are in the order of the files.
type Diagnostics []Diagnostic

// Error shows the problems one below the other.
func (d Diagnostics) Error() string {
	var b strings.Builder
	for i, one := range d {
		if i > 0 {
			b.WriteByte('\n')
		}
		if i == maxDiagnostics {
			fmt.Fprintf(&b, "… and %d more problems", len(d)-i)
			break
		}
		b.WriteString(one.String())
	}
	return b.String()
}

// diagnostics are the errors among what was found, each once, in order.
func (p *parser) diagnostics(diags hcl.Diagnostics) Diagnostics {
	var all Diagnostics
	seen := map[string]bool{}
	for _, diag := range diags {
		if diag.Severity != hcl.DiagError {
			continue
		}
		one := p.diagnostic(diag)
		if key := one.String(); !seen[key] { // a dynamic block says it once for each block it makes
			seen[key] = true
			all = append(all, one)
		}
	}
	slices.SortStableFunc(all, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(p.place(a), p.place(b)), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return all
}

// place orders files: what is wrong with values comes before the job file.
func (p *parser) place(d Diagnostic) int {
	if d.File == p.config.File.Name {
		return 1
	}
	return 0
}

func (p *parser) diagnostic(diag *hcl.Diagnostic) Diagnostic {
	text := diag.Summary
	if diag.Detail != "" {
		if text != "" {
			text += "; "
		}
		text += diag.Detail
	}
	one := Diagnostic{File: p.config.File.Name, Line: 1, Column: 1, Text: clip(p.withoutEnvironment(text), 2000)}
	one.where = one.File
	if diag.Subject != nil {
		at := *diag.Subject
		one.File, one.Line, one.Column, one.where = at.Filename, at.Start.Line, at.Start.Column, at.String()
		one.Source = sourceLine(p.files[at.Filename], at.Start)
	}
	return one
}

// secretLength is how many bytes in a row of a value of the environment are hidden. Less would hide words that messages have anyway.
const secretLength = 8

// hide notes a value of the environment, source, which no message may show.
func (p *parser) hide(value, source string) {
	for _, text := range []string{value, strconv.Quote(value)} {
		for i := range len(text) - secretLength + 1 {
			p.hidden[text[i:i+secretLength]] = source
		}
	}
}

// withoutEnvironment is a message with names in the place of what it has of values of the environment, be it cut short or a part of them.
func (p *parser) withoutEnvironment(text string) string {
	var shown strings.Builder
	i := 0
	for ; i+secretLength <= len(text); i++ {
		source, found := p.hidden[text[i:i+secretLength]]
		if !found {
			shown.WriteByte(text[i])
			continue
		}
		for ; i+secretLength < len(text) && p.hidden[text[i+1:i+1+secretLength]] == source; i++ {
		}
		shown.WriteString("(" + source + ")")
		i += secretLength - 1
	}
	return strings.ToValidUTF8(shown.String()+text[min(i, len(text)):], "…")
}

const (
	shownLine   = 160 // bytes of a line that are shown
	shownBefore = 60  // of these, before the place, where the line is longer
)

// sourceLine is the line of a text at a place, cut where it becomes unreadable.
func sourceLine(text []byte, at hcl.Pos) string {
	for range at.Line - 1 {
		_, rest, found := bytes.Cut(text, []byte("\n"))
		if !found {
			return ""
		}
		text = rest
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	mark := ""
	// Columns count characters, and bytes are never fewer: a cut that is too early shows more.
	if before := at.Column - shownBefore; before > 0 && len(line) > shownLine && before < len(line) {
		line, mark = fromRune(line[before:]), "…"
	}
	if len(line) > 2*shownLine {
		line = line[:2*shownLine] // which clip cuts where a character ends
	}
	return clip(mark+printable(string(line)), shownLine)
}

// fromRune is a text from its first whole character on.
func fromRune(text []byte) []byte {
	for i := range min(len(text), utf8.UTFMax) {
		if utf8.RuneStart(text[i]) {
			return text[i:]
		}
	}
	return text
}

// printable replaces what a terminal would obey instead of showing.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(text, string(utf8.RuneError)))
}

// checkText refuses what is no text at all: the syntax errors of a program or a picture help nobody.
func checkText(f File) *hcl.Diagnostic {
	at, what := bytes.IndexByte(f.Text, 0), "a NUL"
	if at < 0 {
		for i, r := range string(f.Text) {
			if _, size := utf8.DecodeRune(f.Text[i:]); r == utf8.RuneError && size == 1 {
				at, what = i, fmt.Sprintf("the byte 0x%02x", f.Text[i])
				break
			}
		}
	}
	if at < 0 {
		return nil
	}
	line := bytes.Count(f.Text[:at], []byte("\n")) + 1
	place := hcl.Pos{Line: line, Column: utf8.RuneCount(f.Text[bytes.LastIndexByte(f.Text[:at], '\n')+1:at]) + 1, Byte: at}
	return &hcl.Diagnostic{
		Severity: hcl.DiagError, Summary: "Not a text file",
		Detail:  fmt.Sprintf("A job file is text in UTF-8, and here is %s.", what),
		Subject: &hcl.Range{Filename: f.Name, Start: place, End: place},
	}
}

func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
