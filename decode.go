package cluster

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a job may take.
const (
	MaxJobSize  = 1 << 20 // bytes of a job file or of a job's JSON
	maxJobDepth = 64      // levels of nesting
)

// DecodeJob reads the JSON of a job and fills in everything that was left out, in the order type, job, group, task,
// each over what it inherits. The result is complete: decoding it again gives the same job.
//
// Keys are matched without regard to case; null means absent everywhere, and so does an empty text; unknown keys are ignored (see Unread).
// The error has CodeTooLarge for too long or too deep a job, else CodeInvalid, wrapping Problems where the JSON itself is
// sound. A decoded job is not yet valid (see Validate), and may ask for what there is not yet (see Missing).
func DecodeJob(raw []byte) (*Job, error) { return decodeJob(raw, false) }

// DecodeDraft is DecodeJob for a job that has not reached a server yet: what is the server's to choose (datacenters, node
// pool, the words ${JOB}, ${TASKGROUP}, ${TASK} and ${BASE} in names of services, the block that stands for older spellings
// of it) stays as it was written.
func DecodeDraft(raw []byte) (*Job, error) { return decodeJob(raw, true) }

func decodeJob(raw []byte, draft bool) (*Job, error) {
	object, err := readTree(raw)
	if err != nil {
		return nil, err
	}
	d := decoder{}
	job := d.job(object, draft)
	if err := d.problems.Err(); err != nil {
		return nil, err
	}
	return job, nil
}

// readTree reads the JSON of a job as far as it is an object within the limits.
func readTree(raw []byte) (map[string]any, error) {
	if err := CheckJobSize("job", len(raw)); err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, Errorf(CodeInvalid, "parse job as JSON: it is empty; send one object")
	}
	reader := json.NewDecoder(bytes.NewReader(raw))
	reader.UseNumber() // indexes and durations need all their 64 bits
	var tree any
	if err := reader.Decode(&tree); err != nil {
		return nil, Errorf(CodeInvalid, "parse job as JSON: %w", describeJSON(raw, err))
	}
	if reader.More() {
		return nil, Errorf(CodeInvalid, "parse job as JSON: something follows the job; send one object")
	}
	object, ok := tree.(map[string]any)
	if !ok {
		return nil, Errorf(CodeInvalid, "parse job as JSON: want an object, have %s", jsonKind(tree))
	}
	if depth(object) > maxJobDepth {
		return nil, Errorf(CodeTooLarge, "parse job: nested more than %d levels deep; flatten it", maxJobDepth)
	}
	return object, nil
}

// CheckJobSize is an error of CodeTooLarge if a job's text (named what) is longer than MaxJobSize.
func CheckJobSize(what string, size int) error {
	if size <= MaxJobSize {
		return nil
	}
	return Errorf(CodeTooLarge, "read %s: %.1f MB is over the limit of 1 MB; fetch large files from the task instead of writing them into the job",
		what, float64(size)/MaxJobSize)
}

// describeJSON adds the line to errors that have an offset.
func describeJSON(raw []byte, err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		line := 1 + bytes.Count(raw[:min(int(syntax.Offset), len(raw))], []byte("\n"))
		return fmt.Errorf("line %d: %w", line, err)
	}
	return err
}

func depth(tree any) int {
	deepest := 0
	switch t := tree.(type) {
	case map[string]any:
		for _, v := range t {
			deepest = max(deepest, depth(v))
		}
	case []any:
		for _, v := range t {
			deepest = max(deepest, depth(v))
		}
	default:
		return 0
	}
	return deepest + 1
}

// decoder fills nouns from a tree of JSON values and collects what does not fit.
type decoder struct {
	problems Problems
	tree     map[string]any // the job's, by lower-case keys
}

func (d *decoder) job(tree map[string]any, draft bool) *Job {
	d.tree = byLowerName(tree)
	kind, _ := d.tree["type"].(string) // one that is no text is reported below
	job := DefaultJob(cmp.Or(kind, JobTypeService))
	if draft {
		job.Datacenters, job.NodePool = nil, ""
	}
	d.noun(reflect.ValueOf(&job).Elem(), tree, "")
	completeJob(&job, draft)
	return &job
}

// byLowerName is an object with its keys in lower case. Of several spellings capitals win; null is absent.
func byLowerName(tree map[string]any) map[string]any {
	byName := make(map[string]any, len(tree))
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		lower := strings.ToLower(key)
		if _, seen := byName[lower]; tree[key] != nil && !seen { // capitals sort first
			byName[lower] = tree[key]
		}
	}
	return byName
}

// noun fills a struct that already holds its defaults. What inherits from the rest, slices of nouns, comes last.
func (d *decoder) noun(dst reflect.Value, tree map[string]any, at Path) {
	byName := byLowerName(tree)
	for _, inheriting := range []bool{false, true} {
		for _, f := range Fields(dst.Type()) {
			value := byName[strings.ToLower(f.Name)]
			if value == nil || isNounSlice(f.Type) != inheriting {
				continue
			}
			d.field(dst, f, value, at)
		}
	}
	switch n := dst.Addr().Interface().(type) {
	case *TaskGroup:
		if byName["count"] == nil && n.Scaling != nil && n.Scaling.Min != nil {
			n.Count = int(*n.Scaling.Min)
		}
	case *Resources:
		if byName["cpu"] == nil && n.Cores > 0 {
			n.CPU = 0
		}
	}
}

func isNounSlice(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

// field fills one field of a noun.
func (d *decoder) field(noun reflect.Value, f Field, value any, at Path) {
	dst := noun.Field(f.Index)
	name := f.Word()
	switch {
	case f.Kind == FieldBody:
		if object, ok := d.object(value, at.Field(name)); ok && !isEmptyBody(object) {
			dst.Set(reflect.ValueOf(plain(object)))
		}
	case isNounSlice(f.Type):
		d.nouns(noun, dst, name, value, at)
	case f.Type.Kind() == reflect.Map && f.Type.Elem().Kind() == reflect.Pointer:
		d.labelled(dst, name, value, at)
	case f.Type.Kind() == reflect.Pointer && f.Type.Elem().Kind() == reflect.Struct:
		d.optional(dst, value, at.Field(name))
	case f.Type.Kind() == reflect.Pointer:
		filled := reflect.New(f.Type.Elem())
		d.value(filled.Elem(), value, at.Field(name))
		dst.Set(filled)
	case f.Type.Kind() == reflect.Struct:
		if object, ok := d.object(value, at.Field(name)); ok {
			d.noun(dst, object, at.Field(name))
		}
	default:
		d.value(dst, value, at.Field(name))
	}
}

// optional fills a noun that may be absent. A policy of nothing but empty values keeps it absent.
func (d *decoder) optional(dst reflect.Value, value any, at Path) {
	object, ok := d.object(value, at)
	if !ok {
		return
	}
	filled := reflect.New(dst.Type().Elem())
	setDefaults(filled.Elem())
	switch filled.Interface().(type) {
	case *ReschedulePolicy, *UpdateStrategy, *MigrateStrategy:
		if dst.IsNil() && isEmpty(object) {
			return
		}
	case *DisconnectStrategy: // in which false says something
		if isEmptyBody(object) {
			return
		}
	}
	if !dst.IsNil() {
		filled.Elem().Set(dst.Elem())
	}
	d.noun(filled.Elem(), object, at)
	dst.Set(filled)
}

// labelled fills a map of nouns by their labels.
func (d *decoder) labelled(dst reflect.Value, block string, value any, at Path) {
	object, ok := d.object(value, at.Field(block))
	if !ok {
		return
	}
	result := reflect.MakeMapWithSize(dst.Type(), len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		path := at.Label(block, key)
		inner, ok := object[key].(map[string]any)
		if !ok {
			if object[key] != nil {
				d.problems.add(path, "want an object, have %s", jsonKind(object[key]))
			}
			continue
		}
		element := reflect.New(dst.Type().Elem().Elem())
		setDefaults(element.Elem())
		d.noun(element.Elem(), inner, path)
		if label := Label(element.Elem().Type()); label != nil { // its key is what others call it by
			element.Elem().Field(label.Index).SetString(key)
		}
		result.SetMapIndex(reflect.ValueOf(key), element)
	}
	if result.Len() > 0 {
		dst.Set(result)
	}
}

// nouns fills a slice of nouns, each over what it inherits from its parent.
func (d *decoder) nouns(parent, dst reflect.Value, block string, value any, at Path) {
	list, ok := value.([]any)
	if !ok {
		d.problems.add(at.Field(block), "want a list, have %s", jsonKind(value))
		return
	}
	label := Label(dst.Type().Elem())
	result := reflect.MakeSlice(dst.Type(), 0, len(list))
	for i, item := range list {
		if item == nil {
			continue
		}
		object, ok := d.object(item, at.Index(block, i))
		if !ok {
			continue
		}
		path := elementPath(at, block, i, label, object)
		element := reflect.New(dst.Type().Elem()).Elem()
		d.inherit(element, parent, path)
		d.noun(element, object, path)
		result = reflect.Append(result, element)
	}
	if result.Len() > 0 {
		dst.Set(result)
	}
}

// inherit sets a new element of a slice to what a description of it is decoded over.
func (d *decoder) inherit(element, parent reflect.Value, at Path) {
	switch e := element.Addr().Interface().(type) {
	case *TaskGroup:
		*e = DefaultGroup(parent.Addr().Interface().(*Job))
		for block, field := range map[string]string{"reschedule": "ReschedulePolicy", "migrate": "Migrate"} {
			if written := d.tree[block]; written != nil {
				d.optional(element.FieldByName(field), written, at.Field(block))
			}
		}
	case *Task:
		*e = DefaultTask(parent.Addr().Interface().(*TaskGroup))
	case *Check:
		*e = DefaultCheck(parent.Addr().Interface().(*Service))
	default:
		setDefaults(element)
	}
}

// defaults is a noun with the defaults of its tags.
func defaults[T any]() (noun T) {
	setDefaults(reflect.ValueOf(&noun).Elem())
	return noun
}

// setDefaults fills a new noun with the defaults of its tags, and the nouns that are parts of it.
func setDefaults(noun reflect.Value) {
	for _, f := range Fields(noun.Type()) {
		field := noun.Field(f.Index)
		if f.Type.Kind() == reflect.Struct {
			setDefaults(field)
			continue
		}
		if f.Default == "" {
			continue
		}
		if f.Type == durationType {
			field.SetInt(int64(must(time.ParseDuration(f.Default))))
			continue
		}
		switch f.Type.Kind() {
		case reflect.Bool:
			field.SetBool(must(strconv.ParseBool(f.Default)))
		case reflect.Int, reflect.Int64:
			field.SetInt(must(strconv.ParseInt(f.Default, 10, 64)))
		default:
			field.SetString(f.Default)
		}
	}
}

// must is for values that stand in the code.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func (d *decoder) object(value any, at Path) (map[string]any, bool) {
	object, ok := value.(map[string]any)
	if !ok {
		d.problems.add(at, "want an object, have %s", jsonKind(value))
	}
	return object, ok
}

var durationType = reflect.TypeFor[time.Duration]()

// value fills a field that is no noun. Empty texts, lists and maps leave what was inherited.
func (d *decoder) value(dst reflect.Value, value any, at Path) {
	if value == "" && dst.Kind() == reflect.String {
		return
	}
	if dst.Type() == durationType {
		if text, ok := value.(string); ok {
			parsed, err := time.ParseDuration(text)
			if err != nil {
				d.problems.add(at, `want a duration such as "30s" or nanoseconds, have %.*q`, maxQuoted, text)
				return
			}
			dst.SetInt(int64(parsed))
			return
		}
	}
	if payload, ok := dst.Addr().Interface().(*[]byte); ok {
		text, ok := value.(string)
		decoded, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil {
			d.problems.add(at, "want bytes as base64, have %s", jsonKind(value))
		}
		*payload = decoded
		return
	}
	switch dst.Kind() {
	case reflect.Slice:
		d.list(dst, value, at)
	case reflect.Map:
		d.mapping(dst, value, at)
	default:
		if want := setScalar(dst, value); want != "" {
			d.problems.add(at, "want %s, have %s", want, jsonKind(value))
		}
	}
}

func (d *decoder) list(dst reflect.Value, value any, at Path) {
	list, ok := value.([]any)
	if !ok {
		d.problems.add(at, "want a list, have %s", jsonKind(value))
		return
	}
	result := reflect.MakeSlice(dst.Type(), 0, len(list))
	for i, item := range list {
		if item == nil {
			continue
		}
		element := reflect.New(dst.Type().Elem()).Elem()
		d.value(element, item, at.Index("", i))
		result = reflect.Append(result, element)
	}
	if result.Len() > 0 {
		dst.Set(result)
	}
}

func (d *decoder) mapping(dst reflect.Value, value any, at Path) {
	object, ok := d.object(value, at)
	if !ok {
		return
	}
	result := reflect.MakeMapWithSize(dst.Type(), len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if object[key] == nil {
			continue
		}
		element := reflect.New(dst.Type().Elem()).Elem()
		d.value(element, object[key], at.Field(fmt.Sprintf("%.*s", maxQuoted, key)))
		if element.Kind() != reflect.Slice || element.Len() > 0 {
			result.SetMapIndex(reflect.ValueOf(key), element)
		}
	}
	if result.Len() > 0 {
		dst.Set(result)
	}
}

// setScalar stores a text, number or boolean, or says what was wanted.
func setScalar(dst reflect.Value, value any) (want string) {
	switch dst.Kind() {
	case reflect.String:
		text, ok := value.(string)
		if !ok {
			return "a text"
		}
		dst.SetString(text)
	case reflect.Bool:
		truth, ok := value.(bool)
		if !ok {
			return "true or false"
		}
		dst.SetBool(truth)
	case reflect.Int, reflect.Int64:
		number, _ := value.(json.Number)
		whole, err := strconv.ParseInt(string(number), 10, 64)
		if err != nil {
			float, err := number.Float64()
			if err != nil || float != math.Trunc(float) || math.Abs(float) > 1<<53 {
				return "a whole number"
			}
			whole = int64(float)
		}
		dst.SetInt(whole)
	case reflect.Uint64:
		number, _ := value.(json.Number)
		whole, err := strconv.ParseUint(string(number), 10, 64)
		if err != nil {
			return "a whole number that is not negative"
		}
		dst.SetUint(whole)
	default:
		panic("no job has a field of type " + dst.Type().String())
	}
	return ""
}

// plain is a free-form value as encoding/json gives it: numbers are float64, and texts where that would change a whole one.
// Keys whose value is null are absent.
func plain(value any) any {
	switch v := value.(type) {
	case json.Number:
		number, err := v.Float64()
		if err != nil || !holdsWhole(string(v)) { // beyond what a float64 holds
			return string(v)
		}
		return number
	case map[string]any:
		object := make(map[string]any, len(v))
		for key, item := range v {
			if item != nil {
				object[key] = plain(item)
			}
		}
		return object
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = plain(item)
		}
		return list
	}
	return value
}

// holdsWhole reports whether a float64 holds the number exactly, if it is written as a whole one.
func holdsWhole(text string) bool {
	if len(text) <= 15 {
		return true
	}
	whole, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return true
	}
	_, accuracy := new(big.Float).SetInt(whole).Float64()
	return accuracy == big.Exact
}

// isEmptyBody reports whether a free-form body has no key with a value.
func isEmptyBody(object map[string]any) bool {
	for _, value := range object {
		if value != nil {
			return false
		}
	}
	return true
}

// isEmpty reports whether a JSON value says nothing.
func isEmpty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return !v
	case float64:
		return v == 0
	case json.Number:
		number, err := v.Float64()
		return err == nil && number == 0
	case []any:
		return !slices.ContainsFunc(v, func(item any) bool { return item != nil })
	case map[string]any:
		for _, item := range v {
			if !isEmpty(item) {
				return false
			}
		}
		return true
	}
	return false
}

// jsonKind names a JSON value in a message.
func jsonKind(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case string:
		return fmt.Sprintf("the text %.*q", maxQuoted, v)
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return fmt.Sprintf("the number %.*s", maxQuoted, v)
	case []any:
		return "a list"
	}
	return "an object"
}
