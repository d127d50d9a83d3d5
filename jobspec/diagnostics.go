package jobspec

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/a43e60e4/cluster"
)

// maxDiagnostics is how many problems are shown; a file of nonsense has thousands.
const maxDiagnostics = 50

// Diagnostic is one problem of a job file.
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

// Diagnostics is everything that is wrong with a job file, in the order of the file.
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

// failure is the error of a parser that found problems.
func (p *parser) failure() error {
	var all Diagnostics
	seen := map[string]bool{}
	for _, diag := range p.diags {
		if diag.Severity != hcl.DiagError {
			continue
		}
		one := p.diagnostic(diag)
		if key := one.String(); !seen[key] { // a dynamic block says it once for each block it makes
			seen[key] = true
			all = append(all, one)
		}
	}
	return cluster.Errorf(cluster.CodeInvalid, "%w", all)
}

func (p *parser) diagnostic(diag *hcl.Diagnostic) Diagnostic {
	text := diag.Summary
	if diag.Detail != "" {
		if text != "" {
			text += "; "
		}
		text += diag.Detail
	}
	one := Diagnostic{File: p.config.File.Name, Line: 1, Column: 1, Text: clip(text, 2000)}
	one.where = one.File
	if diag.Subject != nil {
		at := *diag.Subject
		one.File, one.Line, one.Column, one.where = at.Filename, at.Start.Line, at.Start.Column, at.String()
		one.Source = sourceLine(p.files[at.Filename], at.Start.Line)
	}
	return one
}

// sourceLine is a line of a text, cut where it becomes unreadable.
func sourceLine(text []byte, line int) string {
	for range line - 1 {
		_, rest, found := bytes.Cut(text, []byte("\n"))
		if !found {
			return ""
		}
		text = rest
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	return clip(strings.ToValidUTF8(strings.TrimRight(string(first), "\r"), "\uFFFD"), 160)
}

func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// hasHint reports whether a detail already names what was meant.
func hasHint(detail string) bool { return strings.Contains(detail, "Did you mean") }
