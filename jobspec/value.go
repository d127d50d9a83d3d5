package jobspec

import (
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/a43e60e4/cluster"
)

var durationType = reflect.TypeFor[time.Duration]()

// convert makes the JSON value of a field out of an expression's value. nil is absent, or a problem that was noted.
func (p *parser) convert(value cty.Value, t reflect.Type, at hcl.Range) any {
	unsuitable := func(format string, args ...any) any {
		p.problem(at, "Unsuitable value type", fmt.Sprintf(format, args...))
		return nil
	}
	if t == durationType {
		return p.duration(value, at)
	}
	if value.IsNull() {
		return nil
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		text, err := convert.Convert(value, cty.String)
		if err != nil {
			return unsuitable("Unsuitable value: string required, but have %s", kindOf(value))
		}
		return text.AsString()
	case reflect.Bool:
		truth, err := convert.Convert(value, cty.Bool)
		if err != nil {
			return unsuitable("Unsuitable value: a bool is required")
		}
		return truth.True()
	case reflect.Int, reflect.Int64, reflect.Uint64:
		number, err := convert.Convert(value, cty.Number)
		if err != nil {
			return unsuitable("Unsuitable value: a number is required")
		}
		whole, accuracy := number.AsBigFloat().Int64()
		if accuracy != big.Exact {
			return unsuitable("Unsuitable value: value must be a whole number, between -9223372036854775808 and 9223372036854775807")
		}
		p.warnNumber(value, at)
		return whole
	case reflect.Slice:
		if !value.Type().IsTupleType() && !value.Type().IsListType() && !value.Type().IsSetType() {
			return unsuitable("Unsuitable value: list of string required, but have %s", kindOf(value))
		}
		list := []any{}
		for it := value.ElementIterator(); it.Next(); {
			_, element := it.Element()
			list = append(list, p.convert(element, t.Elem(), at))
		}
		return list
	case reflect.Map:
		if !value.Type().IsObjectType() && !value.Type().IsMapType() {
			return unsuitable("Unsuitable value: map of string required, but have %s", kindOf(value))
		}
		object := map[string]any{}
		for it := value.ElementIterator(); it.Next(); {
			key, element := it.Element()
			object[key.AsString()] = p.convert(element, t.Elem(), at)
		}
		return object
	}
	return unsuitable("A block is required here: write it without the equals sign")
}

// duration reads "1m30s", or a bare number of nanoseconds.
func (p *parser) duration(value cty.Value, at hcl.Range) any {
	switch {
	case value.IsNull():
		p.problem(at, "Unsuitable duration value", `Unsuitable duration value: null; write a duration such as "30s"`)
		return nil
	case value.Type() == cty.Number:
		nanoseconds := p.convert(value, reflect.TypeFor[int64](), at)
		p.warnDuration(nanoseconds, at)
		return nanoseconds
	case value.Type() != cty.String:
		p.problem(at, "Unsuitable value type", `Unsuitable duration value: have `+kindOf(value)+`; write a duration such as "30s"`)
		return nil
	}
	parsed, err := time.ParseDuration(value.AsString())
	if err != nil {
		p.problem(at, "Unsuitable value type", "Unsuitable duration value: "+clip(strings.TrimPrefix(err.Error(), "time: "), 200)+inHours(value.AsString()))
		return nil
	}
	return int64(parsed)
}

// inHours says what to write instead of a duration that is no duration: the largest unit is the hour.
func inHours(text string) string {
	number, days := strings.CutSuffix(text, "d")
	if n, err := strconv.ParseUint(number, 10, 16); days && err == nil {
		return fmt.Sprintf("; write hours: %q", strconv.FormatUint(24*n, 10)+"h")
	}
	return `; write a duration such as "1h30m" or "45s"`
}

func kindOf(value cty.Value) string {
	if value.IsNull() {
		return "null"
	}
	return value.Type().FriendlyName()
}

// freeForm makes the JSON of any value.
func freeForm(value cty.Value) any {
	switch t := value.Type(); {
	case value.IsNull() || !value.IsKnown():
		return nil
	case t == cty.String:
		return value.AsString()
	case t == cty.Bool:
		return value.True()
	case t == cty.Number:
		if whole, accuracy := value.AsBigFloat().Int64(); accuracy == big.Exact {
			return whole
		}
		float, _ := value.AsBigFloat().Float64()
		return float
	case t.IsObjectType() || t.IsMapType():
		object := map[string]any{}
		for it := value.ElementIterator(); it.Next(); {
			key, element := it.Element()
			object[key.AsString()] = freeForm(element)
		}
		return object
	case value.CanIterateElements():
		list := []any{}
		for it := value.ElementIterator(); it.Next(); {
			_, element := it.Element()
			list = append(list, freeForm(element))
		}
		return list
	}
	return nil
}

// body makes the JSON of a block with anything in it. A nested block becomes a list of objects, its labels objects
// around it, each again in a list; an attribute that is an object becomes a list of one.
func (p *parser) body(b place) map[string]any {
	result := map[string]any{}
	native, isNative := b.Body.(*hclsyntax.Body)
	attributes, diags := hcl.Attributes(nil), hcl.Diagnostics(nil)
	if isNative {
		attributes = make(hcl.Attributes, len(native.Attributes))
		for name, attr := range native.Attributes {
			attributes[name] = attr.AsHCLAttribute()
		}
	} else {
		attributes, diags = b.Body.JustAttributes()
		p.diags = append(p.diags, diags...)
	}
	for _, attr := range inOrder(attributes) {
		value, ok := p.eval(attr.Expr, b.scope)
		p.warnNulls(attr.Expr)
		if !ok || value.IsNull() {
			continue
		}
		converted := freeForm(value)
		if object, ok := converted.(map[string]any); ok {
			converted = []any{object}
		}
		result[attr.Name] = converted
	}
	if !isNative {
		return result
	}
	var blocks hcl.Blocks
	for _, inner := range native.Blocks {
		blocks = append(blocks, inner.AsHCLBlock())
	}
	for _, inner := range p.expand(blocks, b.scope, nil) {
		if attr := attributes[inner.Type]; attr != nil {
			p.problem(inner.DefRange, "Duplicate name", fmt.Sprintf("%q is a block here and was an argument at %s.", inner.Type, attr.NameRange))
			continue
		}
		list, _ := result[inner.Type].([]any)
		result[inner.Type] = nest(list, inner.Labels, p.body(inner))
	}
	return result
}

// bodyRanges notes where the arguments and the blocks that a free-form body begins with were written.
func (p *parser) bodyRanges(b place, at cluster.Path) {
	native, ok := b.Body.(*hclsyntax.Body)
	if !ok {
		return
	}
	for name, attr := range native.Attributes {
		p.ranges[at.Field(name)] = attr.SrcRange
	}
	for _, inner := range slices.Backward(native.Blocks) { // the first of several
		p.ranges[at.Field(inner.Type)] = inner.DefRange()
	}
}

// nest adds a block's object to the list of its siblings, below its labels.
func nest(list []any, labels []string, object map[string]any) []any {
	if len(labels) == 0 {
		return append(list, object)
	}
	if len(list) == 0 {
		list = []any{map[string]any{}}
	}
	below := list[0].(map[string]any)
	inner, _ := below[labels[0]].([]any)
	below[labels[0]] = nest(inner, labels[1:], object)
	return list
}

func hint(name string, known []string) string {
	if near := cluster.Nearest(name, known); near != "" {
		return fmt.Sprintf(" Did you mean %q?", near)
	}
	return ""
}
