package driver

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// DecodeTask reads the task's config into the struct that into points at, as Decode does. All that is wrong with it is in
// the one error it returns, which wraps ErrInvalid; the options of notYet are wrong too, with a text of their own.
func DecodeTask(t Task, into any, notYet ...string) error {
	d := decoder{notYet: notYet}
	faults := d.task(t.Config, into)
	if len(faults) == 0 {
		return nil
	}
	return Invalidf("config of task %q: %s", t.Name, texts(faults))
}

// Fault is something wrong with options.
type Fault struct {
	Option string // the first of the names that lead to it; "" for one that is missing
	Text   string
}

// CheckConfig finds what DecodeTask would say of a config as it is in a job, before a node has put in what only it knows: a value with a
// reference ("${…}") may become a number or true. into is what DecodeTask decodes into, and of no use afterwards.
func CheckConfig(config map[string]any, into any, notYet ...string) []Fault {
	d := decoder{notYet: notYet, draft: true}
	return d.task(config, into)
}

// task decodes the config of a task, for which options that are not supported yet are wrong too.
func (d *decoder) task(config map[string]any, into any) []Fault {
	d.block("", config, reflect.ValueOf(into).Elem())
	for _, name := range d.unsupported {
		d.wrong(name, "option %q is not supported yet: remove it", name)
	}
	return d.faults
}

// texts are faults in one line.
func texts(faults []Fault) string {
	list := make([]string, len(faults))
	for i, f := range faults {
		list[i] = f.Text
	}
	return strings.Join(list, "; ")
}

// Decode reads options into the struct that into points at; its fields say by their tags what there may be:
// `config:"name"`, `config:"name,required"` or `config:"name,secret"`, whose values are in no error. A field is a string, bool, int, int64, []string, map[string]string, a struct
// (a block), a pointer to one (a block that may be absent) or a slice of structs (a block that may be repeated).
// Fields of options that are not given keep their values: they are the defaults.
//
// Values convert as they do in job files: "8" is a number where one is wanted and 8 a string; a block or a map may also
// come as a list of maps; null is absent. Of the options in notYet those that were given are returned, to be warned of;
// names may be those of options in blocks ("gc.image"). Unknown options and wrong types are an error that names all.
func Decode(options map[string]any, into any, notYet ...string) (unsupported []string, err error) {
	d := decoder{notYet: notYet}
	d.block("", options, reflect.ValueOf(into).Elem())
	if len(d.faults) > 0 {
		return nil, fmt.Errorf("%s", texts(d.faults))
	}
	return d.unsupported, nil
}

// decoder collects what it finds on the way through the options.
type decoder struct {
	notYet      []string
	unsupported []string
	faults      []Fault
	secret      bool // values are not to be shown
	draft       bool // values may have references that a node resolves
}

func (d *decoder) wrong(option, format string, args ...any) {
	option, _, _ = strings.Cut(option, ".")
	d.faults = append(d.faults, Fault{option, fmt.Sprintf(format, args...)})
}

// block decodes into a struct. path is the names of the blocks around it, each with a dot behind it.
func (d *decoder) block(path string, options map[string]any, into reflect.Value) {
	known := map[string]reflect.Value{}
	secret := map[string]bool{}
	for i := range into.NumField() {
		tag, ok := into.Type().Field(i).Tag.Lookup("config")
		if !ok {
			continue
		}
		name, flags, _ := strings.Cut(tag, ",")
		known[name], secret[name] = into.Field(i), flags == "secret"
		if value, given := options[name]; flags == "required" && (!given || value == nil || value == "") {
			d.wrong(path, "option %q is required", path+name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		field, ok := known[name]
		switch {
		case options[name] == nil:
		case ok:
			outside := d.secret
			d.secret = outside || secret[name]
			d.value(path+name, options[name], field)
			d.secret = outside
		case slices.Contains(d.notYet, path+name):
			d.unsupported = append(d.unsupported, path+name)
		default:
			d.wrong(path+name, "unknown option %q%s", path+name, d.hint(path, name, known))
		}
	}
}

// hint says what could have been meant.
func (d *decoder) hint(path, name string, known map[string]reflect.Value) string {
	names := slices.Sorted(maps.Keys(known))
	best, distance := "", len(name)/3+2
	for _, candidate := range names {
		if n := editDistance(name, candidate); n < distance {
			best, distance = candidate, n
		}
	}
	for _, full := range d.notYet {
		candidate, ok := strings.CutPrefix(full, path)
		if n := editDistance(name, candidate); ok && n < distance {
			best, distance = candidate, n
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf(" (did you mean %q?)", path+best)
	case len(names) <= 12:
		return fmt.Sprintf(" (there are: %s)", strings.Join(names, ", "))
	}
	return ""
}

func (d *decoder) value(path string, from any, into reflect.Value) {
	switch into.Kind() {
	case reflect.String:
		if text, ok := asString(from); ok {
			into.SetString(text)
			return
		}
	case reflect.Bool:
		if b, ok := asBool(from); ok || d.open(from) {
			into.SetBool(b)
			return
		}
	case reflect.Int, reflect.Int64:
		if n, ok := asInt(from); ok || d.open(from) {
			into.SetInt(n)
			return
		}
	case reflect.Map:
		if d.stringMap(from, into) {
			return
		}
	case reflect.Slice:
		if into.Type().Elem().Kind() == reflect.Struct {
			d.blocks(path, from, into)
			return
		}
		if d.strings(from, into) {
			return
		}
	case reflect.Pointer:
		if into.IsNil() {
			into.Set(reflect.New(into.Type().Elem()))
		}
		d.value(path, from, into.Elem())
		return
	case reflect.Struct:
		if maps, ok := asMaps(from); ok && len(maps) == 1 {
			d.block(path+".", maps[0], into)
			return
		}
	}
	d.wrong(path, "option %q must be %s, not %s", path, wanted(into.Type()), d.given(from))
}

// open reports whether only a node can say what a value is.
func (d *decoder) open(value any) bool {
	text, ok := value.(string)
	return ok && d.draft && strings.Contains(text, "${")
}

func (d *decoder) strings(from any, into reflect.Value) bool {
	if list, ok := from.([]string); ok {
		into.Set(reflect.ValueOf(slices.Clone(list)))
		return true
	}
	list, ok := from.([]any)
	if !ok {
		return false
	}
	out := make([]string, len(list))
	for i, element := range list {
		if out[i], ok = asString(element); !ok {
			return false
		}
	}
	into.Set(reflect.ValueOf(out))
	return true
}

func (d *decoder) stringMap(from any, into reflect.Value) bool {
	if given, ok := from.(map[string]string); ok {
		into.Set(reflect.ValueOf(maps.Clone(given)))
		return true
	}
	all, ok := asMaps(from)
	if !ok {
		return false
	}
	out := map[string]string{}
	for _, one := range all {
		for key, element := range one {
			if element == nil {
				continue
			}
			if out[key], ok = asString(element); !ok {
				return false
			}
		}
	}
	into.Set(reflect.ValueOf(out))
	return true
}

func (d *decoder) blocks(path string, from any, into reflect.Value) {
	all, ok := asMaps(from)
	if !ok {
		d.wrong(path, "option %q must be %s, not %s", path, wanted(into.Type()), d.given(from))
		return
	}
	out := reflect.MakeSlice(into.Type(), len(all), len(all))
	for i, one := range all {
		d.block(path+".", one, out.Index(i))
	}
	into.Set(out)
}

func asString(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case json.Number:
		return v.String(), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case int, int64, uint64:
		return fmt.Sprint(v), true
	}
	return "", false
}

func asBool(v any) (b, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case string:
		return v == "true", v == "true" || v == "false"
	}
	return false, false
}

func asInt(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int64:
		return v, true
	case float64:
		return int64(v), v == math.Trunc(v) && math.Abs(v) <= 1<<53
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil
	case json.Number:
		n, err := v.Int64()
		return n, err == nil
	}
	return 0, false
}

// asMaps takes a map or a list of maps: a block may be written both ways.
func asMaps(v any) ([]map[string]any, bool) {
	switch v := v.(type) {
	case map[string]any:
		return []map[string]any{v}, true
	case []map[string]any:
		return v, true
	case []any:
		out := make([]map[string]any, len(v))
		for i, element := range v {
			m, ok := element.(map[string]any)
			if !ok {
				return nil, false
			}
			out[i] = m
		}
		return out, true
	}
	return nil, false
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Map:
		return "a map of strings"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return "a block"
		}
		return "a list of strings"
	}
	return "one block"
}

func (d *decoder) given(v any) string {
	if d.secret {
		return fmt.Sprintf("what is given (a %T)", v)
	}
	switch v := v.(type) {
	case string:
		return "the string " + strconv.Quote(shorten(v))
	case bool:
		return strconv.FormatBool(v)
	case float64, int, int64, uint64, json.Number:
		return "the number " + fmt.Sprint(v)
	case []any, []string, []map[string]any:
		return "a list"
	case map[string]any, map[string]string:
		return "a map"
	}
	return fmt.Sprintf("a %T", v)
}

func shorten(text string) string {
	if len(text) > 40 {
		return text[:40] + "…"
	}
	return text
}

// editDistance is the number of letters to insert, delete or change to make one word the other.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return len(a) + len(b)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
