package cluster

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// differ compares nouns by their types. A reflect.Value that is not valid stands for what is not there.
type differ struct{ contextual bool }

// nounDiff is what differs in a noun, whatever it is.
type nounDiff struct {
	ObjectDiff
	parts    []nounDiff // the groups of a job, the tasks of a group
	replaces bool       // the change takes new instances
}

var (
	groupList = reflect.TypeFor[[]TaskGroup]()
	taskList  = reflect.TypeFor[[]Task]()
)

// noun compares two values of a noun. replaces says that any difference takes new instances.
func (d differ) noun(name string, was, is reflect.Value, replaces bool) nounDiff {
	n := nounDiff{ObjectDiff: ObjectDiff{Name: name, Type: DiffNone}}
	if !was.IsValid() && !is.IsValid() {
		return n
	}
	noun := is
	if !is.IsValid() {
		noun = was
	}
	whole := noun.Type() == reflect.TypeFor[Job]() || noun.Type() == groupList.Elem() || noun.Type() == taskList.Elem()
	for _, f := range Fields(noun.Type()) {
		if f.State || whole && f.Kind == FieldLabel {
			continue
		}
		n.field(d, f, fieldOf(was, f), fieldOf(is, f), replaces || f.Replace)
	}
	switch {
	case !was.IsValid():
		n.Type = DiffAdded
	case !is.IsValid():
		n.Type = DiffDeleted
	case n.changed():
		n.Type = DiffEdited
	}
	if whole || n.Type == DiffNone || !d.contextual {
		n.Fields = slices.DeleteFunc(n.Fields, func(f FieldDiff) bool { return f.Type == DiffNone })
	}
	return n
}

func (n *nounDiff) changed() bool {
	return len(n.Objects) > 0 || slices.ContainsFunc(n.Fields, func(f FieldDiff) bool { return f.Type != DiffNone }) ||
		slices.ContainsFunc(n.parts, func(part nounDiff) bool { return part.Type != DiffNone })
}

// fieldOf is a field of a noun, or what it points to.
func fieldOf(noun reflect.Value, f Field) reflect.Value {
	if !noun.IsValid() {
		return noun
	}
	if value := noun.Field(f.Index); value.Kind() != reflect.Pointer {
		return value
	}
	return noun.Field(f.Index).Elem()
}

// field compares one field of a noun.
func (n *nounDiff) field(d differ, f Field, was, is reflect.Value, replaces bool) {
	inner := f.Type
	for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
		inner = inner.Elem()
	}
	switch {
	case inner.Kind() != reflect.Struct:
		n.add(values(f, was, is), replaces)
	case f.Type.Kind() == reflect.Slice || f.Type.Kind() == reflect.Map:
		n.nouns(d, f, was, is, replaces)
	default:
		n.object(d.noun(f.Name, was, is, replaces), replaces)
	}
}

// add takes in what was found of a field.
func (n *nounDiff) add(found []FieldDiff, replaces bool) {
	for _, f := range found {
		f.replaces = replaces && f.Type != DiffNone
		n.replaces = n.replaces || f.replaces
		n.Fields = append(n.Fields, f)
	}
}

// object takes in what differs in a noun that is a part of this one.
func (n *nounDiff) object(part nounDiff, replaces bool) {
	if part.Type != DiffNone {
		n.Objects = append(n.Objects, part.ObjectDiff)
		n.replaces = n.replaces || replaces || part.replaces
	}
}

// nouns compares a list of nouns, or nouns by their labels.
func (n *nounDiff) nouns(d differ, f Field, was, is reflect.Value, replaces bool) {
	before, after := elements(was), elements(is)
	pairs := match(before, after)
	for _, p := range pairs {
		var a, b element
		if p.was >= 0 {
			a = before[p.was]
		}
		if p.is >= 0 {
			b = after[p.is]
		}
		if f.Type == groupList || f.Type == taskList {
			key := b.key
			if p.is < 0 {
				key = a.key
			}
			n.parts = append(n.parts, d.noun(key, a.value, b.value, replaces))
			continue
		}
		part := d.noun(singular(f.Name), a.value, b.value, replaces)
		if part.Type == DiffEdited && b.keyed != "" {
			part.name(b.keyed, b.key)
		}
		n.object(part, replaces)
	}
	if f.Type.Kind() == reflect.Slice {
		n.order(f, before, pairs, replaces)
	}
}

// name lets a part of a list say which one it is.
func (n *nounDiff) name(field, key string) {
	if !slices.ContainsFunc(n.Fields, func(f FieldDiff) bool { return f.Name == field }) {
		n.Fields = slices.Insert(n.Fields, 0, FieldDiff{Type: DiffNone, Name: field, Old: key, New: key})
	}
}

// order notes that what is in both lists stands in another order now.
func (n *nounDiff) order(f Field, before []element, pairs []pair, replaces bool) {
	var now []int
	for _, p := range pairs {
		if p.was >= 0 && p.is >= 0 {
			now = append(now, p.was)
		}
	}
	if slices.IsSorted(now) {
		return
	}
	text := func(order []int) string {
		names := make([]string, len(order))
		for i, at := range order {
			if names[i] = before[at].key; names[i] == "" {
				names[i] = strconv.Itoa(at)
			}
		}
		return strings.Join(names, ", ")
	}
	n.add([]FieldDiff{{Type: DiffEdited, Name: f.Name, Old: text(slices.Sorted(slices.Values(now))), New: text(now)}}, replaces)
}

// singular is what one noun of a list is called: "Constraint" of Constraints.
func singular(name string) string {
	if stem, plural := strings.CutSuffix(name, "ies"); plural {
		return stem + "y"
	}
	if stem, plural := strings.CutSuffix(name, "sses"); plural {
		return stem + "ss"
	}
	return strings.TrimSuffix(name, "s")
}

// element is a noun in a list or a map.
type element struct {
	value   reflect.Value
	keyed   string // the field that tells it from the others, "" if it has none
	key     string // … and its value
	content string // equal for equal nouns
}

// elements are the nouns of a list, or of a map by its keys. A noun's key is its label, else its name.
func elements(list reflect.Value) []element {
	var all []element
	add := func(value reflect.Value) {
		e := element{value: value}
		for _, f := range Fields(value.Type()) {
			if f.Kind == FieldLabel || f.Name == "Name" && e.keyed == "" {
				e.keyed, e.key = f.Name, value.Field(f.Index).String()
			}
		}
		text, _ := json.Marshal(value.Interface()) // what cannot be written has no equal
		e.content = e.key + "\x00" + string(text)
		all = append(all, e)
	}
	switch {
	case !list.IsValid():
	case list.Kind() == reflect.Slice:
		for i := range list.Len() {
			add(list.Index(i))
		}
	default:
		for _, key := range sortedKeys(list) {
			if value := list.MapIndex(key).Elem(); value.IsValid() {
				add(value)
			}
		}
	}
	return all
}

// sortedKeys are the keys of maps, in order.
func sortedKeys(tables ...reflect.Value) []reflect.Value {
	seen := map[string]bool{}
	var keys []reflect.Value
	for _, table := range tables {
		if !table.IsValid() {
			continue
		}
		for _, key := range table.MapKeys() {
			if !seen[key.String()] {
				seen[key.String()] = true
				keys = append(keys, key)
			}
		}
	}
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return keys
}

// pair is the place of one noun in two lists, -1 in one where it is not.
type pair struct{ was, is int }

// match finds for each noun of a list what it was before: the same, else the one with the same key, else, for those without a
// key, the only one or the one that most of it is alike with. The result has the order of the new list, and then what is gone.
func match(before, after []element) []pair {
	was := make([]int, len(after)) // index in before, -1 for none
	for i := range was {
		was[i] = -1
	}
	taken := make([]bool, len(before))
	by := func(same func(element) string) {
		free := map[string][]int{}
		for i, e := range before {
			if text := same(e); !taken[i] && text != "" {
				free[text] = append(free[text], i)
			}
		}
		for i, e := range after {
			if found := free[same(e)]; was[i] < 0 && len(found) > 0 {
				was[i], taken[found[0]] = found[0], true
				free[same(e)] = found[1:]
			}
		}
	}
	by(func(e element) string { return e.content })
	by(func(e element) string {
		if e.keyed == "" {
			return ""
		}
		return e.keyed + "=" + e.key
	})
	likeliest(before, after, was, taken)
	var pairs []pair
	for i := range after {
		pairs = append(pairs, pair{was[i], i})
	}
	for i := range before {
		if !taken[i] {
			pairs = append(pairs, pair{i, -1})
		}
	}
	return pairs
}

// mostCompared bounds how many nouns without a key are compared each with each.
const mostCompared = 50

// likeliest pairs nouns without a key if more than half of what either says is the same, or if there are no others.
func likeliest(before, after []element, was []int, taken []bool) {
	var old []int
	for i := range before {
		if !taken[i] && before[i].keyed == "" {
			old = append(old, i)
		}
	}
	if len(old) > mostCompared || len(after) > 10*mostCompared {
		return
	}
	least := 0.5
	if len(before) == 1 && len(after) == 1 {
		least = -1
	}
	for i := range after {
		if was[i] >= 0 || after[i].keyed != "" {
			continue
		}
		best, most := -1, least
		for _, at := range old {
			if taken[at] {
				continue
			}
			if part := likeness(before[at].value, after[i].value); part > most {
				best, most = at, part
			}
		}
		if best >= 0 {
			was[i], taken[best] = best, true
		}
	}
}

// likeness is the part of the fields with a value in either noun that are the same in both.
func likeness(a, b reflect.Value) float64 {
	said, same := 0, 0
	for i := range a.NumField() {
		if a.Field(i).IsZero() && b.Field(i).IsZero() {
			continue
		}
		said++
		if reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			same++
		}
	}
	return float64(same) / float64(max(1, said))
}

// values compares what is no noun: a value, or a list or map of them. An empty text, list or map is none.
func values(f Field, was, is reflect.Value) []FieldDiff {
	var found []FieldDiff
	if sized(f.Type.Kind()) {
		was, is = filled(was), filled(is)
	}
	compare(&found, f.Name, was, is)
	return found
}

func sized(k reflect.Kind) bool {
	return k == reflect.String || k == reflect.Slice || k == reflect.Map
}

// filled is the value, or none if it is empty.
func filled(value reflect.Value) reflect.Value {
	if value.IsValid() && value.Len() == 0 {
		return reflect.Value{}
	}
	return value
}

// compare compares two values and what is in them, and lists what there is. Within free-form values an empty list is
// something else than none.
func compare(found *[]FieldDiff, name string, was, is reflect.Value) {
	was, is = concrete(was), concrete(is)
	a, b := shape(was), shape(is)
	switch {
	case a == reflect.Invalid && b == reflect.Invalid:
	case a != b && a != reflect.Invalid && b != reflect.Invalid:
		compare(found, name, was, reflect.Value{})
		compare(found, name, reflect.Value{}, is)
	case hollow(was) && !is.IsValid() || hollow(is) && !was.IsValid():
		*found = append(*found, scalar(name, was, is))
	case a == reflect.Map || b == reflect.Map:
		for _, key := range sortedKeys(was, is) {
			compare(found, name+"["+key.String()+"]", entry(was, key), entry(is, key))
		}
	case a == reflect.Slice || b == reflect.Slice:
		compareLists(found, name, was, is)
	default:
		*found = append(*found, scalar(name, was, is))
	}
}

// concrete is the value in an interface; null stays what it is.
func concrete(value reflect.Value) reflect.Value {
	if value.IsValid() && value.Kind() == reflect.Interface && !value.IsNil() {
		return value.Elem()
	}
	return value
}

// shape is how a value is compared: as a map, as a list or (reflect.String) as a text.
func shape(value reflect.Value) reflect.Kind {
	switch {
	case !value.IsValid():
		return reflect.Invalid
	case value.Kind() == reflect.Slice && value.Type().Elem().Kind() == reflect.Uint8:
		return reflect.String
	case value.Kind() == reflect.Map, value.Kind() == reflect.Slice:
		return value.Kind()
	}
	return reflect.String
}

// hollow reports whether a value is a list or map of nothing.
func hollow(value reflect.Value) bool {
	kind := shape(value)
	return (kind == reflect.Map || kind == reflect.Slice) && value.Len() == 0
}

func entry(table, key reflect.Value) reflect.Value {
	if !table.IsValid() {
		return table
	}
	return table.MapIndex(key)
}

// compareLists compares what is between the same beginning and the same end one by one.
func compareLists(found *[]FieldDiff, name string, was, is reflect.Value) {
	before, after := contents(was), contents(is)
	first := 0
	for first < min(len(before), len(after)) && before[first] == after[first] {
		first++
	}
	last := 0
	for last < min(len(before), len(after))-first && before[len(before)-1-last] == after[len(after)-1-last] {
		last++
	}
	at := func(list reflect.Value, length, i int) reflect.Value {
		if i >= length {
			return reflect.Value{}
		}
		return list.Index(i)
	}
	changed := max(len(before), len(after)) - last
	for i := range changed {
		compare(found, index(name, i), at(was, len(before)-last, i), at(is, len(after)-last, i))
	}
	for i := range last {
		compare(found, index(name, len(after)-last+i), was.Index(len(before)-last+i), is.Index(len(after)-last+i))
	}
}

func index(name string, i int) string { return name + "[" + strconv.Itoa(i) + "]" }

// contents are the values of a list as texts that are equal for equal ones.
func contents(list reflect.Value) []string {
	if !list.IsValid() {
		return nil
	}
	texts := make([]string, list.Len())
	for i := range texts {
		texts[i] = exact(list.Index(i))
	}
	return texts
}

// exact is the JSON of a value.
func exact(value reflect.Value) string {
	text, err := json.Marshal(value.Interface())
	if err != nil {
		return fmt.Sprint(value.Interface())
	}
	return string(text)
}

// scalar compares two values in which there is nothing more.
func scalar(name string, was, is reflect.Value) FieldDiff {
	f := FieldDiff{Name: name, Type: DiffEdited, Old: words(was), New: words(is)}
	switch {
	case !was.IsValid():
		f.Type = DiffAdded
	case !is.IsValid():
		f.Type = DiffDeleted
	case exact(was) == exact(is):
		f.Type = DiffNone
	case f.Old == f.New: // 1 and "1"
		f.Old, f.New = exact(was), exact(is)
	}
	return f
}

// words is a value as people write it.
func words(value reflect.Value) string {
	if !value.IsValid() {
		return ""
	}
	switch v := value.Interface().(type) {
	case time.Duration:
		return v.String()
	case string:
		return v
	}
	return strings.Trim(exact(value), `"`)
}
