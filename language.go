package cluster

import (
	"cmp"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/agext/levenshtein"
)

// Path leads to a place in a job, in the words of the job file: `group "web" > task "app" > driver`.
// The empty path is the job itself. Places of a job that came as JSON have the same paths.
type Path string

// maxQuoted is how many bytes of a user's text a message repeats.
const maxQuoted = 40

// Field is the path of an attribute, or of a block that occurs once, inside p.
func (p Path) Field(name string) Path {
	if p == "" {
		return Path(name)
	}
	return p + " > " + Path(name)
}

// Label is the path of a labelled block inside p; long labels are cut.
func (p Path) Label(block, label string) Path {
	return p.Field(fmt.Sprintf("%s %.*q", block, maxQuoted, label))
}

// Index is the path of the index-th (from 0) of several blocks without label inside p.
func (p Path) Index(block string, index int) Path {
	return p.Field(block + "[" + strconv.Itoa(index) + "]")
}

// Last is the last step of the path: Parent().Field(Last()) is the path again.
func (p Path) Last() string {
	parent := p.Parent()
	if parent == "" {
		return string(p)
	}
	return string(p[len(parent)+len(" > "):])
}

// Parent is the path without its last step; the parent of the job is the job.
func (p Path) Parent() Path {
	// A label may contain the separator: a step ends only where the quotes before it are balanced.
	for end := len(p); end > 0; {
		i := strings.LastIndex(string(p[:end]), " > ")
		if i < 0 {
			break
		}
		if !insideQuotes(string(p[:i])) {
			return p[:i]
		}
		end = i
	}
	return ""
}

// Within reports whether p is a place inside of outer, or outer itself.
func (p Path) Within(outer Path) bool {
	return outer == "" || p == outer || strings.HasPrefix(string(p), string(outer)+" > ")
}

func insideQuotes(text string) bool {
	inside := false
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && inside:
			i++
		case text[i] == '"':
			inside = !inside
		}
	}
	return inside
}

// Problem is one thing that is wrong with a job.
type Problem struct {
	Path Path
	Text string
}

// String is the problem as people read it.
func (p Problem) String() string {
	if p.Path == "" {
		return p.Text
	}
	return string(p.Path) + ": " + p.Text
}

// Problems is everything that is wrong with a job. Errors of this package that are about several
// places of a job wrap it, so that a caller can find the places with errors.As.
type Problems []Problem

// maxListed is how many problems are listed.
const maxListed = 50

// Error lists the problems, one a line; the first ones if there are very many.
func (p Problems) Error() string {
	plural := "s"
	if len(p) == 1 {
		plural = ""
	}
	return fmt.Sprintf("invalid job: %d problem%s:\n * ", len(p), plural) + strings.ReplaceAll(p.Lines(), "\n", "\n * ")
}

// Lines are the problems, one a line, as the API gives warnings; the first ones if there are very many.
func (p Problems) Lines() string {
	var lines []string
	for i, problem := range p {
		if i == maxListed {
			lines = append(lines, fmt.Sprintf("… and %d more", len(p)-i))
			break
		}
		lines = append(lines, strings.ReplaceAll(problem.String(), "\n", " "))
	}
	return strings.Join(lines, "\n")
}

// Err is nil if there are no problems, else an error of CodeInvalid that wraps them.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return Errorf(CodeInvalid, "%w", p)
}

func (p *Problems) add(at Path, format string, args ...any) {
	*p = append(*p, Problem{at, fmt.Sprintf(format, args...)})
}

// The kinds of Field.
const (
	FieldAttribute = ""      // name = value; a map may also be written as a block
	FieldBlock     = "block" // name { … }, repeated for a slice, labelled for a map
	FieldLabel     = "label" // the label of the enclosing block
	FieldBody      = "body"  // a block with whatever is in it
)

// Field is a field of a noun as job files write it.
type Field struct {
	Name    string // in Go and in JSON
	HCL     string // in a job file, "" if it cannot be written there
	Kind    string
	Index   int // in the Go struct
	Type    reflect.Type
	Default string   // its value if it is not written, "" if that is empty or depends on something else
	Enum    []string // what it may be, nil if that is not a list of words
	// Deprecated says what to write instead, "" if there is nothing wrong with the field.
	Deprecated string
	Required   bool // a job file must write it
	Key        bool // it tells the noun apart from others in a list, as a label would
	Inherit    bool // it may also be written in the blocks around the noun's
	Replace    bool // a change of it takes new instances
	Refers     bool // it may hold references that only a node resolves
	State      bool // the servers write it: it is no part of what the job asks for

	word string
}

// Noun is the struct that the field's blocks are made of, nil if it has none.
func (f Field) Noun() reflect.Type {
	t := f.Type
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if f.Kind != FieldBlock || t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

// Word is what the field is called in paths and messages: its usual name in a job file, or that in JSON if it has none there.
func (f Field) Word() string { return f.word }

// Fields lists the fields of a noun (a struct of this package) in order. The result is shared: do not modify it.
func Fields(noun reflect.Type) []Field {
	if known, ok := fieldCache.Load(noun); ok {
		return known.([]Field)
	}
	var fields []Field
	for i := range noun.NumField() {
		f := noun.Field(i)
		words := strings.Split(f.Tag.Get("hcl"), ",")
		field := Field{Name: f.Name, HCL: words[0], Index: i, Type: f.Type, Default: f.Tag.Get("default"), Enum: strings.Fields(f.Tag.Get("enum")), Deprecated: f.Tag.Get("deprecated")}
		if field.HCL == "-" {
			field.HCL = ""
		}
		field.word = cmp.Or(field.HCL, field.Name)
		for _, word := range words[1:] {
			switch word {
			case "required":
				field.Required = true
			case "key":
				field.Key = true
			case "inherit":
				field.Inherit = true
			case "replace":
				field.Replace = true
			case "refers":
				field.Refers = true
			case "state":
				field.State = true
			default:
				if usual, ok := strings.CutPrefix(word, "as="); ok {
					field.word = usual
					continue
				}
				field.Kind = word
			}
		}
		fields = append(fields, field)
	}
	fieldCache.Store(noun, fields)
	return fields
}

var fieldCache sync.Map // reflect.Type → []Field

// Label is the field that holds the label of a noun's block, nil if its block has none.
func Label(noun reflect.Type) *Field {
	return firstField(noun, func(f *Field) bool { return f.Kind == FieldLabel })
}

// key is the field that tells a noun apart from others in a list: its label, or an attribute. nil: their order does.
func key(noun reflect.Type) *Field {
	return firstField(noun, func(f *Field) bool { return f.Kind == FieldLabel || f.Key })
}

func firstField(noun reflect.Type, is func(*Field) bool) *Field {
	fields := Fields(noun)
	for i := range fields {
		if is(&fields[i]) {
			return &fields[i]
		}
	}
	return nil
}

// Nearest is the known name that a misspelt one was meant to be, "" if none is near.
func Nearest(name string, known []string) string {
	best, distance := "", min(3, len(name)/2+1)
	for _, candidate := range known {
		if len(name) > 100 {
			break
		}
		if d := levenshtein.Distance(name, candidate, nil); d < distance || d == distance && candidate < best {
			best, distance = candidate, d
		}
	}
	return best
}
