package cluster

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Unread lists what the JSON of a job says and DecodeJob does not read, for the one who submits it: keys that nothing in a
// job is called, and further spellings of one that was read. Keys that say nothing (null, 0, "", …) are not among it, nor
// those that clients of the ecosystem send for their servers' sake. JSON that DecodeJob refuses has none.
func Unread(raw []byte) Problems {
	tree, err := readTree(raw)
	if err != nil {
		return nil
	}
	var u unread
	u.noun(reflect.TypeFor[Job](), tree, "")
	return u.problems
}

// notRead are keys, in lower case, that clients send of a noun and that ask for nothing: servers write them.
var notRead = map[reflect.Type][]string{
	reflect.TypeFor[Job]():               {"nomadtokenid"},
	reflect.TypeFor[ScalingPolicy]():     {"id", "namespace", "target", "createindex", "modifyindex"},
	reflect.TypeFor[TaskScalingPolicy](): {"id", "namespace", "target", "createindex", "modifyindex"},
}

// unread walks over the JSON of a job as decoder does.
type unread struct{ problems Problems }

func (u *unread) noun(noun reflect.Type, tree map[string]any, at Path) {
	fields := Fields(noun)
	read := map[string]string{} // the spelling that counts, by lower case
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		value, lower := tree[key], strings.ToLower(key)
		if value == nil {
			continue
		}
		if first, twice := read[lower]; twice {
			u.problems.add(at, "%s has no effect beside %s; write it once", quote(key), quote(first))
			continue
		}
		read[lower] = key
		i := slices.IndexFunc(fields, func(f Field) bool { return strings.ToLower(f.Name) == lower })
		switch {
		case i >= 0:
			u.field(fields[i], value, at)
		case !isEmpty(value) && !slices.Contains(notRead[noun], lower):
			u.problems.add(at, "%s is not known here and has no effect%s", quote(key), likelyField(key, fields))
		}
	}
}

// likelyField names the field that was meant by a key: the one that job files call so, or one that is spelled much like it.
func likelyField(key string, fields []Field) string {
	var known []string
	for _, f := range fields {
		if f.HCL != "" && (strings.EqualFold(f.HCL, key) || strings.EqualFold(f.HCL+"s", key)) {
			return `; did you mean "` + f.Name + `"?`
		}
		known = append(known, f.Name)
	}
	return didYouMean(key, known)
}

// field looks into the nouns that a field has. What is of another shape, the decoder refuses.
func (u *unread) field(f Field, value any, at Path) {
	inner := f.Type
	for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
		inner = inner.Elem()
	}
	if inner.Kind() != reflect.Struct {
		return
	}
	switch value := value.(type) {
	case []any:
		label := Label(inner)
		for i, item := range value {
			if object, ok := item.(map[string]any); ok {
				u.noun(inner, object, elementPath(at, f.Word(), i, label, object))
			}
		}
	case map[string]any:
		if f.Type.Kind() != reflect.Map {
			u.noun(inner, value, at.Field(f.Word()))
			return
		}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			if object, ok := value[key].(map[string]any); ok {
				u.noun(inner, object, at.Label(f.Word(), key))
			}
		}
	}
}

// elementPath is the place of a noun in a list: by its label, if nouns of its kind have one.
func elementPath(at Path, block string, i int, label *Field, object map[string]any) Path {
	if label == nil {
		return at.Index(block, i)
	}
	text, _ := byLowerName(object)[strings.ToLower(label.Name)].(string)
	return at.Label(block, text)
}
