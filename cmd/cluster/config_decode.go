package main

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Warning is something in a configuration that has no effect.
type Warning struct {
	File string
	Line int
	Text string
}

func (w Warning) String() string { return place{w.File, w.Line}.String() + ": " + w.Text }

// configDecoder puts values into AgentConfig by its struct tags:
//
//	hcl:"name"      the key of a field: a scalar, list, map or struct
//	later:"a b c"   on a blank field: keys that existing files have and this version does not act on; each is a warning
//	later:"*"       any other key too
//	moot:"a b c"    on a blank field: keys that ask for what is always so; nothing is said
type configDecoder struct{ warnings []Warning }

// decode stores v, read under the given dotted path, into the variable target. What target held before is the default:
// structs are filled field by field, maps merge, lists grow, anything else is replaced. Null changes nothing.
func (d *configDecoder) decode(v value, path string, target reflect.Value) error {
	if v.kind == nullValue {
		return nil
	}
	if v.kind == listValue && len(v.list) > 0 && v.list[0].kind == bodyValue && target.Kind() != reflect.Slice && target.Kind() != reflect.Interface {
		for _, element := range v.list { // JSON writes repeated blocks as a list
			if err := d.decode(element, path, target); err != nil {
				return err
			}
		}
		return nil
	}
	if target.Type() == reflect.TypeFor[time.Duration]() {
		return d.duration(v, path, target)
	}
	if r, ok := target.Addr().Interface().(*role); ok {
		var on bool
		err := d.decode(v, path, reflect.ValueOf(&on).Elem())
		*r = roleOff
		if on {
			*r = roleOn
		}
		return err
	}
	if plugin, ok := target.Addr().Interface().(*PluginConfig); ok {
		plugin.at = v.at
	}
	switch target.Kind() {
	case reflect.Struct:
		return d.fields(v, path, target)
	case reflect.Map:
		return d.entries(v, path, target)
	case reflect.Slice:
		return d.elements(v, path, target)
	case reflect.Interface:
		target.Set(reflect.ValueOf(free(v)))
		return nil
	}
	return scalar(v, path, target)
}

// fields decodes the settings of a block into a struct.
func (d *configDecoder) fields(v value, path string, target reflect.Value) error {
	if v.kind != bodyValue {
		return wrongKind(v, path, "a block")
	}
	for _, i := range v.items {
		name := join(path, i.key)
		field, tag := configField(target.Type(), i.key)
		switch {
		case field >= 0:
			if err := d.decode(i.value, name, target.Field(field)); err != nil {
				return err
			}
		case tag == "later":
			d.warnings = append(d.warnings, Warning{i.at.File, i.at.Line, name + " is not supported yet and has no effect"})
		case tag == "moot":
		default:
			return unknownKey(i, path, target.Type())
		}
	}
	return nil
}

// configField finds the key among the struct's tags: the field's index, or -1 and the tag that lists it, "" for none.
func configField(t reflect.Type, key string) (int, string) {
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		if tag.Get("hcl") == key && key != "" {
			return i, ""
		}
		for _, name := range []string{"later", "moot"} {
			if keys := strings.Fields(tag.Get(name)); slices.Contains(keys, key) || slices.Contains(keys, "*") {
				return -1, name
			}
		}
	}
	return -1, ""
}

func unknownKey(i item, path string, t reflect.Type) error {
	var known []string
	for f := range t.NumField() {
		tag := t.Field(f).Tag
		known = append(known, strings.Fields(tag.Get("hcl")+" "+tag.Get("later")+" "+tag.Get("moot"))...)
	}
	where := ""
	if path != "" {
		where = " in " + path
	}
	if meant := closest(i.key, known); meant != "" {
		return fmt.Errorf("%s: unknown key %q%s: did you mean %q?", i.at, clip(i.key), where, meant)
	}
	return fmt.Errorf("%s: unknown key %q%s", i.at, clip(i.key), where)
}

// entries decodes a block into a map, over the entries that it has.
func (d *configDecoder) entries(v value, path string, target reflect.Value) error {
	if v.kind != bodyValue {
		return wrongKind(v, path, "a block")
	}
	merged := reflect.MakeMap(target.Type())
	for it := target.MapRange(); it.Next(); {
		merged.SetMapIndex(it.Key(), it.Value())
	}
	for _, i := range v.items {
		key := reflect.ValueOf(i.key)
		entry := reflect.New(target.Type().Elem()).Elem()
		if old := merged.MapIndex(key); old.IsValid() {
			entry.Set(old)
		}
		if old, ok := entry.Interface().(map[string]any); ok && entry.Kind() == reflect.Interface && i.value.kind == bodyValue {
			// a block in a free-form body joins the block of the same name
			joined := maps.Clone(old)
			for k, v := range free(i.value).(map[string]any) {
				joined[k] = v
			}
			entry.Set(reflect.ValueOf(joined))
		} else if err := d.decode(i.value, join(path, i.key), entry); err != nil {
			return err
		}
		merged.SetMapIndex(key, entry)
	}
	target.Set(merged)
	return nil
}

func (d *configDecoder) elements(v value, path string, target reflect.Value) error {
	if v.kind != listValue {
		return wrongKind(v, path, "a list")
	}
	list := slices.Clone(v.list)
	for n, element := range list {
		e := reflect.New(target.Type().Elem()).Elem()
		if err := d.decode(element, fmt.Sprintf("%s[%d]", path, n), e); err != nil {
			return err
		}
		target.Set(reflect.Append(target, e))
	}
	return nil
}

func (d *configDecoder) duration(v value, path string, target reflect.Value) error {
	var length time.Duration
	var err error
	switch v.kind {
	case numberValue:
		var ns int64
		ns, err = strconv.ParseInt(v.text, 10, 64)
		length = time.Duration(ns)
	case textValue:
		length, err = time.ParseDuration(v.text)
	default:
		return wrongKind(v, path, `a duration such as "30s"`)
	}
	if err != nil {
		return fmt.Errorf("%s: %s is %q: want a duration such as \"30s\"", v.at, path, clip(v.text))
	}
	target.SetInt(int64(length))
	return nil
}

// scalar stores a text, number or bool. A text that spells a number or bool is one: old files write them so.
func scalar(v value, path string, target reflect.Value) error {
	switch target.Kind() {
	case reflect.String:
		if v.kind == textValue || v.kind == numberValue || v.kind == boolValue {
			target.SetString(v.text)
			return nil
		}
		return wrongKind(v, path, "a text")
	case reflect.Bool:
		if b, err := strconv.ParseBool(v.text); err == nil && (v.kind == boolValue || v.kind == textValue) {
			target.SetBool(b)
			return nil
		}
		return wrongKind(v, path, "true or false")
	case reflect.Int:
		if n, err := strconv.ParseInt(v.text, 10, 0); err == nil && (v.kind == numberValue || v.kind == textValue) {
			target.SetInt(n)
			return nil
		}
		return wrongKind(v, path, "a whole number")
	case reflect.Float64:
		if n, err := strconv.ParseFloat(v.text, 64); err == nil && (v.kind == numberValue || v.kind == textValue) {
			target.SetFloat(n)
			return nil
		}
		return wrongKind(v, path, "a number")
	}
	return fmt.Errorf("%s: %s cannot be configured", v.at, path)
}

func wrongKind(v value, path, want string) error {
	if path == "" {
		path = "the file"
	}
	if v.text != "" {
		return fmt.Errorf("%s: %s is %q: want %s", v.at, path, clip(v.text), want)
	}
	return fmt.Errorf("%s: %s is %s: want %s", v.at, path, v.kind, want)
}

// free is the value of a free-form body, as drivers get their configuration: map[string]any, []any, string, bool,
// int64 where exact, else float64.
func free(v value) any {
	switch v.kind {
	case textValue:
		return v.text
	case boolValue:
		return v.text == "true"
	case numberValue:
		if n, err := strconv.ParseInt(v.text, 10, 64); err == nil {
			return n
		}
		f, _ := strconv.ParseFloat(v.text, 64) // the scanner let only numbers pass; what is too large is infinite
		return f
	case listValue:
		list := make([]any, len(v.list))
		for i, e := range v.list {
			list[i] = free(e)
		}
		return list
	case bodyValue:
		body := make(map[string]any, len(v.items))
		for _, i := range v.items {
			next := free(i.value)
			if old, ok := body[i.key].(map[string]any); ok {
				if more, ok := next.(map[string]any); ok {
					maps.Copy(old, more)
					continue
				}
			}
			body[i.key] = next
		}
		return body
	}
	return nil
}

func join(path, key string) string {
	if path == "" {
		return clip(key)
	}
	return path + "." + clip(key)
}
