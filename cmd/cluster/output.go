package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/a43e60e4/cluster"
	"github.com/urfave/cli/v2"
)

// output is where all that people read is formatted: tables, pairs, times, colours. It is not safe for concurrent use.
type output struct {
	w       io.Writer
	errors  io.Writer
	now     func() time.Time
	colours bool
	shown   bool // w is a terminal
}

func (p *program) output(plain bool) *output {
	o := &output{w: p.stdout, errors: p.stderr, now: p.now}
	_, o.shown = p.terminal()
	o.colours = o.shown && !plain && p.getenv("NO_COLOR") == "" && p.getenv("NOMAD_CLI_NO_COLOR") == "" && p.getenv("TERM") != "dumb"
	return o
}

// none stands where there is nothing to show.
const none = "<none>"

// line prints a line of plain text.
func (o *output) line(format string, args ...any) {
	fmt.Fprintf(o.w, format+"\n", args...)
}

// text prints a text that came from elsewhere: as it is for programs, and harmless to a terminal.
func (o *output) text(text string) {
	if o.shown {
		text = printable(text)
	}
	fmt.Fprintln(o.w, text)
}

// heading prints the title of a section, an empty line before it.
func (o *output) heading(title string) { fmt.Fprintf(o.w, "\n%s\n", o.bold(title)) }

// fail prints why the command did not do what it was asked.
func (o *output) fail(err error) {
	fmt.Fprintf(o.errors, "Error: %s\n", printable(err.Error()))
}

// warn prints a line that is no part of the answer.
func (o *output) warn(format string, args ...any) {
	fmt.Fprintf(o.errors, "Warning: "+format+"\n", args...)
}

// json prints an object of the API as it came.
func (o *output) json(value any) error {
	e := json.NewEncoder(o.w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "    ")
	return e.Encode(value)
}

// pair is a line of a header.
type pair struct{ key, value string }

// pairs prints "Key = value" lines with the signs below one another.
func (o *output) pairs(list []pair) {
	widest := 0
	for _, p := range list {
		widest = max(widest, utf8.RuneCountInString(p.key))
	}
	for _, p := range list {
		fmt.Fprintf(o.w, "%s = %s\n", o.bold(pad(p.key, widest)), o.status(printable(orNone(p.value))))
	}
}

// table prints rows with aligned columns, two spaces apart, the first row being the titles.
func (o *output) table(rows [][]string) {
	for _, line := range o.rows(rows) {
		fmt.Fprintln(o.w, line)
	}
}

// rows are the lines of a table.
func (o *output) rows(rows [][]string) []string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(printable(orNone(cell))))
		}
	}
	lines := make([]string, len(rows))
	for r, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			text := printable(orNone(cell))
			space := ""
			if i < len(row)-1 {
				space = strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)+2)
			}
			if r == 0 {
				text = o.bold(text)
			} else {
				text = o.status(text)
			}
			b.WriteString(text + space)
		}
		lines[r] = strings.TrimRight(b.String(), " ")
	}
	return lines
}

// warnJob prints what there is to say about a job where it does not get into what a program reads.
func (o *output) warnJob(list []string) {
	if len(list) > 0 {
		fmt.Fprintln(o.errors, printable("Job Warnings:\n"+strings.Join(list, "\n")))
	}
}

func orNone(text string) string {
	if text == "" {
		return none
	}
	return text
}

// printable takes what could steer a terminal out of text that came from elsewhere; line ends stay.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return -1
		}
		return r
	}, text)
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

func (o *output) paint(code, text string) string {
	if !o.colours || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (o *output) bold(text string) string { return o.paint("1", text) }

func (o *output) faint(text string) string { return o.paint("2", text) }

// status colours the words for good, bad and waiting, and nothing else.
func (o *output) status(text string) string {
	switch text {
	case "running", "complete", "successful", "ready", "eligible", "healthy", "alive", "passing":
		return o.paint("32", text)
	case "failed", "lost", "down", "dead", "unhealthy", "cancelled":
		return o.paint("31", text)
	case "pending", "blocked", "initializing", "ineligible":
		return o.paint("33", text)
	}
	return text
}

// short is an ID as lists show it, or the whole of it.
func short(id cluster.ID, whole bool) string {
	if whole {
		return id.String()
	}
	return id.Short()
}

// moment is a time in unix nanoseconds for people: the local date and how long ago it was.
func (o *output) moment(ns int64) string {
	if ns == 0 {
		return none
	}
	t := time.Unix(0, ns)
	return t.In(o.now().Location()).Format(time.DateTime) + " (" + o.ago(ns) + ")"
}

// ago is how long a time in unix nanoseconds is past, in its two largest units.
func (o *output) ago(ns int64) string {
	if ns == 0 {
		return none
	}
	d := o.now().Sub(time.Unix(0, ns))
	if d < 0 {
		return "in " + span(-d)
	}
	return span(d) + " ago"
}

// span is a duration in its two largest units.
func span(d time.Duration) string {
	units := []struct {
		name string
		size time.Duration
	}{{"y", 365 * 24 * time.Hour}, {"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	text, left := "", 2
	for _, u := range units {
		if n := d / u.size; left > 0 && (n > 0 || text != "") {
			left--
			if n > 0 {
				text += fmt.Sprintf("%d%s", n, u.name)
			}
			d -= n * u.size
		}
	}
	if text == "" {
		return "0s"
	}
	return text
}

// clock is the prefix of a line in a plain log.
func (o *output) clock() string { return o.now().Format(time.RFC3339) }

// megabytes is an amount of memory or disk.
func megabytes(n int) string {
	if n >= 10*1024 {
		return fmt.Sprintf("%.1f GiB", float64(n)/1024)
	}
	return fmt.Sprintf("%d MiB", n)
}

// help prints what a command is, how it is called, an example and its flags; without a command, what there is.
func (o *output) help(app *cli.App, l commandLine) {
	commands := app.Commands
	usage, description, arguments := app.Usage, "", "COMMAND [FLAGS] [ARGUMENTS]"
	var flags []cli.Flag
	if len(l.path) > 0 {
		c := l.path[len(l.path)-1]
		usage, description, commands, flags = c.Usage, c.Description, c.Subcommands, c.Flags
		if len(commands) == 0 {
			arguments = strings.TrimSpace("[FLAGS] " + c.ArgsUsage)
		}
	}
	o.line("%s\n\nUsage: %s %s", strings.ToUpper(usage[:1])+usage[1:]+".", l.name(), arguments)
	if description != "" {
		o.line("\n%s", description)
	}
	if len(commands) > 0 {
		o.heading("Commands")
		var list []pair
		for _, c := range commands {
			if !c.Hidden {
				list = append(list, pair{c.Name, c.Usage})
			}
		}
		o.columns(list)
		o.line("\n`%s COMMAND -h` explains a command.", l.name())
	}
	o.flags("Flags", flags, "")
	o.flags("General flags", flags, generalFlags)
}

func (o *output) flags(title string, flags []cli.Flag, category string) {
	var list []pair
	for _, f := range flags {
		documented, ok := f.(cli.DocGenerationFlag)
		if categorised, has := f.(cli.CategorizableFlag); !ok || !has || categorised.GetCategory() != category {
			continue
		}
		names := "-" + strings.Join(f.Names(), ", -")
		usage := documented.GetUsage()
		if before, rest, found := strings.Cut(usage, "`"); found {
			value, after, _ := strings.Cut(rest, "`")
			names, usage = names+" "+value, before+value+after
		}
		list = append(list, pair{names, usage})
	}
	if len(list) > 0 {
		o.heading(title)
		o.columns(list)
	}
}

// columns prints names and what they mean, indented.
func (o *output) columns(list []pair) {
	widest := 0
	for _, p := range list {
		widest = max(widest, len(p.key))
	}
	for _, p := range list {
		o.line("  %s  %s", pad(p.key, widest), p.value)
	}
}
