package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/a43e60e4/cluster"
)

// differences prints what differs between two versions of a job.
type differences struct {
	*output
	verbose bool // all fields of what is new or gone, too
}

// marks are those of the types of differences, with their colours.
var marks = map[string]struct{ text, colour string }{
	cluster.DiffNone: {"", ""}, cluster.DiffAdded: {"+", "32"}, cluster.DiffDeleted: {"-", "31"}, cluster.DiffEdited: {"+/-", "33"},
}

func (d differences) mark(kind string, width int) string {
	m := marks[kind]
	return d.paint(m.colour, m.text) + strings.Repeat(" ", max(0, width-len(m.text)))
}

// whole reports whether all of a noun is shown: one that is new or gone is named, in its file it stands anyway.
func (d differences) whole(kind string) bool {
	return kind == cluster.DiffEdited || d.verbose && kind != cluster.DiffNone
}

func (d differences) job(diff *cluster.JobDiff) {
	d.title(0, diff.Type, "Job", diff.ID, nil)
	if d.whole(diff.Type) {
		d.content(0, diff.Type, diff.Fields, diff.Objects)
	}
	for i := range diff.TaskGroups {
		g := &diff.TaskGroups[i]
		var updates []string
		for _, what := range slices.Sorted(maps.Keys(g.Updates)) {
			text := fmt.Sprintf("%d %s", g.Updates[what], what)
			updates = append(updates, d.paint(updateColours[what], text))
		}
		d.title(0, g.Type, "Task Group", g.Name, updates)
		if d.whole(g.Type) {
			d.content(1, g.Type, g.Fields, g.Objects)
		}
		for _, t := range g.Tasks {
			d.title(1, t.Type, "Task", t.Name, t.Annotations)
			if d.whole(t.Type) {
				d.content(2, t.Type, t.Fields, t.Objects)
			}
		}
	}
}

var updateColours = map[string]string{"create": "32", "destroy": "31", "migrate": "33", "canary": "33", "in-place update": "36", "create/destroy update": "33"}

// title prints the line that a noun begins with.
func (d differences) title(depth int, kind, noun, name string, notes []string) {
	text := fmt.Sprintf("%s%s %s: %q", indentation(depth), d.mark(kind, markWidth(kind)), d.bold(noun), printable(name))
	if len(notes) > 0 {
		text += " (" + strings.Join(notes, ", ") + ")"
	}
	d.line("%s", text)
}

// markWidth leaves room for a mark where there is none.
func markWidth(kind string) int {
	if kind == cluster.DiffNone {
		return len(marks[cluster.DiffEdited].text)
	}
	return len(marks[kind].text)
}

func indentation(depth int) string { return strings.Repeat("  ", depth) }

// content prints the fields and objects of a noun of the given type, names and values below one another.
func (d differences) content(depth int, kind string, fields []cluster.FieldDiff, objects []cluster.ObjectDiff) {
	fields = d.said(fields)
	marked, named := 0, 0
	for _, f := range fields {
		marked, named = max(marked, len(marks[f.Type].text)), max(named, len([]rune(printable(f.Name))))
	}
	for _, o := range objects {
		marked = max(marked, len(marks[o.Type].text))
	}
	for _, f := range fields {
		notes := ""
		if len(f.Annotations) > 0 && kind == cluster.DiffEdited {
			notes = " (" + strings.Join(f.Annotations, ", ") + ")"
		}
		head := indentation(depth) + d.mark(f.Type, marked) + " " + printable(f.Name) + ":"
		if strings.Contains(f.Old+f.New, "\n") {
			d.line("%s%s", head, notes)
			d.text(indentation(depth)+strings.Repeat(" ", marked+3), f.Old, f.New)
			continue
		}
		d.line("%s%s %s%s", head, strings.Repeat(" ", named-len([]rune(printable(f.Name)))), change(f), notes)
	}
	for _, o := range objects {
		notes := ""
		if o.Type != cluster.DiffEdited && kind == cluster.DiffEdited && replacing(o) {
			notes = " (" + cluster.ForcesDestructiveUpdate + ")"
		}
		d.line("%s%s %s {%s", indentation(depth), d.mark(o.Type, marked), d.bold(printable(o.Name)), notes)
		d.content(depth+1, o.Type, o.Fields, o.Objects)
		d.line("%s%s }", indentation(depth), strings.Repeat(" ", marked))
	}
}

// said are the fields worth a line: without -verbose those that changed, and of others those that say something.
func (d differences) said(fields []cluster.FieldDiff) []cluster.FieldDiff {
	if d.verbose {
		return fields
	}
	return slices.DeleteFunc(slices.Clone(fields), func(f cluster.FieldDiff) bool {
		value := f.Old + f.New
		if f.Type == cluster.DiffNone {
			value = f.New
		}
		return f.Type != cluster.DiffEdited && (value == "0" || value == "false" || value == "0s")
	})
}

// replacing reports whether something that is new or gone takes new instances.
func replacing(o cluster.ObjectDiff) bool {
	return slices.ContainsFunc(o.Fields, func(f cluster.FieldDiff) bool { return len(f.Annotations) > 0 }) ||
		slices.ContainsFunc(o.Objects, replacing)
}

// change is a value, or what it was and what it is.
func change(f cluster.FieldDiff) string {
	was, is := strconv.Quote(printable(f.Old)), strconv.Quote(printable(f.New))
	switch f.Type {
	case cluster.DiffEdited:
		return was + " => " + is
	case cluster.DiffDeleted:
		return was
	}
	return is
}

// text prints the lines that differ between two texts, with one line around them.
func (d differences) text(indent, was, is string) {
	before, after := lines(was), lines(is)
	first := 0
	for first < min(len(before), len(after)) && before[first] == after[first] {
		first++
	}
	last := 0
	for last < min(len(before), len(after))-first && before[len(before)-1-last] == after[len(after)-1-last] {
		last++
	}
	print := func(mark, colour string, list []string) {
		for _, l := range list {
			d.line("%s%s", indent, d.paint(colour, mark+printable(l)))
		}
	}
	if first > 1 {
		print("  ", "", []string{"…"})
	}
	print("  ", "", before[max(0, first-1):first])
	print("- ", "31", before[first:len(before)-last])
	print("+ ", "32", after[first:len(after)-last])
	print("  ", "", after[len(after)-last:min(len(after), len(after)-last+1)])
	if last > 1 {
		print("  ", "", []string{"…"})
	}
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}
