package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
)

// writer makes pages out of types and comments.
type writer struct {
	comments map[string]string
	places   map[reflect.Type][]string // the blocks that a noun's blocks stand in
	order    []noun
}

// noun is a type of blocks and their name.
type noun struct {
	reflect.Type
	block string
}

const mark = "<!-- blocks -->\n"

// language is the page of the job language: the prose with the blocks in it.
func (w *writer) language(prose string) []byte {
	w.places = map[reflect.Type][]string{}
	w.visit(noun{reflect.TypeFor[cluster.Job](), "job"})
	var b strings.Builder
	for _, n := range w.order {
		w.section(&b, n)
	}
	note := "<!-- Made by go generate out of the types of the language and jobspec/reference/page.md. -->\n"
	return []byte(note + strings.Replace(prose, mark, b.String(), 1))
}

// visit lists the nouns below one, each once, where it is found first.
func (w *writer) visit(n noun) {
	w.order = append(w.order, n)
	for _, f := range cluster.Fields(n.Type) {
		inner := f.Noun()
		if inner == nil || f.HCL == "" {
			continue
		}
		known := w.places[inner] != nil
		if !slices.Contains(w.places[inner], n.block) {
			w.places[inner] = append(w.places[inner], n.block)
		}
		if !known {
			w.visit(noun{inner, f.Word()})
		}
	}
}

func (w *writer) section(b *strings.Builder, n noun) {
	fmt.Fprintf(b, "### %s\n\n", n.block)
	text := w.comments[n.Name()]
	if n.block == "job" { // its comment is about the code
		text = "Job is what a user wants to run."
	}
	b.WriteString(worded(text, n.Name(), n.block))
	if in := w.places[n.Type]; len(in) > 0 {
		fmt.Fprintf(b, " It stands in `%s`.", strings.Join(in, "`, `"))
	}
	b.WriteString("\n\n")
	rows := 0
	for _, f := range cluster.Fields(n.Type) {
		if f.HCL == "" {
			continue
		}
		if rows == 0 {
			b.WriteString("| name | kind | default | meaning |\n|---|---|---|---|\n")
		}
		rows++
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.HCL, kindOf(f), defaultOf(n.Type, f), w.meaning(n.Type, f))
	}
	if rows > 0 {
		b.WriteString("\n")
	}
}

// worded puts the word of a job file in place of the Go name at the beginning of a comment.
func worded(text, name, word string) string {
	if rest, ok := strings.CutPrefix(text, name+" "); ok {
		return "`" + word + "` " + rest
	}
	return text
}

func (w *writer) meaning(n reflect.Type, f cluster.Field) string {
	text := worded(w.comments[n.Name()+"."+f.Name], f.Name, f.HCL)
	if len(f.Enum) > 0 {
		text += " One of `" + strings.Join(f.Enum, "`, `") + "`."
	}
	if f.Inherit {
		text += " It may be written in the group or the job for all tasks."
	}
	if f.Deprecated != "" {
		text += " **Deprecated:** " + f.Deprecated + "."
	}
	for _, l := range cluster.Laters() {
		if l.Noun == n && l.Field == f.Name {
			text += " **Not yet**" + except(l) + ": " + l.Text + "."
		}
	}
	if f.Replace {
		text += " *A change takes new instances.*"
	}
	return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(strings.TrimSpace(text))
}

func except(l cluster.Later) string {
	if len(l.Works) == 0 {
		return ""
	}
	return ", but for `" + strings.Join(l.Works, "`, `") + "`"
}

// kindOf says how a field is written.
func kindOf(f cluster.Field) string {
	kind := valueKind(f.Type)
	switch f.Kind {
	case cluster.FieldLabel:
		kind = "label"
	case cluster.FieldBody:
		kind = "block of anything"
	case cluster.FieldBlock:
		kind = "block"
		if f.Type.Kind() == reflect.Slice || f.Type.Kind() == reflect.Map {
			kind = "blocks"
		}
		if label := cluster.Label(f.Noun()); label != nil {
			kind += ", labelled"
		}
	}
	if f.Required {
		kind += ", required"
	}
	return kind
}

func valueKind(t reflect.Type) string {
	if t == reflect.TypeFor[time.Duration]() {
		return "duration"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return valueKind(t.Elem())
	case reflect.Bool:
		return "bool"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "number"
	case reflect.Slice:
		return "list of " + valueKind(t.Elem())
	case reflect.Map:
		return "map of " + valueKind(t.Elem())
	}
	return "text"
}

// missing is the page of what there is not yet.
func (w *writer) missing() []byte {
	var b strings.Builder
	b.WriteString("<!-- Made by go generate out of the table in later.go. -->\n# What there is not yet\n\n" +
		"The job language is read whole, and what a job asks for is kept, shown and compared. This cluster does not do all of it yet.\n" +
		"`cluster job validate`, `plan` and `run` name each such setting of a job, with file and line, and so do the answers of the API.\n\n")
	for _, part := range []struct {
		title   string
		refused bool
	}{
		{"## Refused\n\nA job must not run without these: it is valid, and servers do not take it.", true},
		{"## Warned of\n\nA job runs without these.", false},
	} {
		b.WriteString(part.title + "\n\n| in | setting | what is instead |\n|---|---|---|\n")
		for _, l := range cluster.Laters() {
			if l.Refused == part.refused {
				fmt.Fprintf(&b, "| %s | `%s`%s | %s |\n", w.blockOf(l.Noun), wordOf(l), except(l), l.Text)
			}
		}
		b.WriteString("\n")
	}
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}

func (w *writer) blockOf(t reflect.Type) string {
	for _, n := range w.order {
		if n.Type == t {
			return "`" + n.block + "`"
		}
	}
	return t.Name()
}

func wordOf(l cluster.Later) string {
	for _, f := range cluster.Fields(l.Noun) {
		if f.Name == l.Field {
			return f.Word()
		}
	}
	return l.Field
}
