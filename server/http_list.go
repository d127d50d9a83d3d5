package server

import (
	"cmp"
	"encoding"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-bexpr"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// cursor is the place of an object in its list: the older first, then by namespace and ID. Lists that are not
// ordered by age leave the index 0, lists of one namespace or none leave the namespace out.
type cursor struct {
	index     uint64
	namespace string
	id        string
}

func (c cursor) compare(d cursor) int {
	return cmp.Or(cmp.Compare(c.index, d.index), strings.Compare(c.namespace, d.namespace), strings.Compare(c.id, d.id))
}

// token is the cursor as callers hand it back.
func (c cursor) token() string {
	switch {
	case c.index > 0:
		return strconv.FormatUint(c.index, 10) + "." + c.id
	case c.namespace != "":
		return c.namespace + "." + c.id
	}
	return c.id
}

// parse reads a token of the kind that sample's would be.
func (c cursor) parse(token string) (cursor, error) {
	if c.index == 0 && c.namespace == "" {
		return cursor{id: token}, nil
	}
	before, id, ok := strings.Cut(token, ".")
	if ok && c.index == 0 {
		return cursor{namespace: before, id: id}, nil
	}
	index, err := strconv.ParseUint(before, 10, 64)
	if !ok || err != nil {
		return cursor{}, cluster.Errorf(cluster.CodeInvalid, "read next_token %.100q: pass on the %s of the page before", token, api.HeaderNextToken)
	}
	return cursor{index: index, id: id}, nil
}

// lister is how objects of one type are listed.
type lister[T, V any] struct {
	at     func(*T) cursor
	datum  func(*T) any // what a filter looks at; nil: the object itself
	view   func(*T) V   // what the answer shows
	sorted bool         // the objects come in the order of their cursors
}

// list makes the page that the request asks for.
func (l lister[T, V]) list(r *request, objects iter.Seq[*T]) (page, error) {
	matches, err := newFilter(r.list.filter)
	if err != nil {
		return page{}, err
	}
	found := slices.Collect(objects)
	if !l.sorted {
		l.sort(found)
	}
	if r.list.reverse {
		slices.Reverse(found)
	}
	if found, err = l.seek(r, found); err != nil {
		return page{}, err
	}
	views := []V{}
	for _, object := range found {
		if matches != nil {
			ok, err := matches(l.filtered(object))
			if err != nil {
				return page{}, err
			}
			if !ok {
				continue
			}
		}
		if r.list.perPage > 0 && len(views) == r.list.perPage {
			return page{views, l.at(object).token()}, nil
		}
		views = append(views, l.view(object))
	}
	return page{items: views}, nil
}

func (l lister[T, V]) filtered(object *T) any {
	if l.datum == nil {
		return object
	}
	return l.datum(object)
}

func (l lister[T, V]) sort(found []*T) {
	slices.SortFunc(found, func(a, b *T) int { return l.at(a).compare(l.at(b)) })
}

// seek drops what came on earlier pages.
func (l lister[T, V]) seek(r *request, found []*T) ([]*T, error) {
	if r.list.next == "" || len(found) == 0 {
		return found, nil
	}
	begin, err := l.at(found[0]).parse(r.list.next)
	if err != nil {
		return nil, err
	}
	from, _ := slices.BinarySearchFunc(found, begin, func(object *T, begin cursor) int {
		if r.list.reverse {
			return begin.compare(l.at(object))
		}
		return l.at(object).compare(begin)
	})
	return found[from:], nil
}

const (
	maxFilter      = 4 << 10 // bytes
	maxFilterSteps = 50_000  // of the parser
)

// newFilter is the test that an expression describes, nil for the empty one. It is for one goroutine.
func newFilter(expression string) (func(datum any) (bool, error), error) {
	if expression == "" {
		return nil, nil
	}
	if len(expression) > maxFilter {
		return nil, cluster.Errorf(cluster.CodeInvalid, "failed to read filter expression: it is over the limit of 4 KB")
	}
	evaluator, err := bexpr.CreateEvaluator(expression, bexpr.WithHookFn(spellOut), bexpr.WithMaxExpressions(maxFilterSteps))
	if err != nil {
		return nil, cluster.Errorf(cluster.CodeInvalid, "failed to read filter expression: %w", err)
	}
	return func(datum any) (ok bool, err error) {
		defer func() {
			// The library compares some mismatched types without looking first.
			if fault := recover(); fault != nil {
				err = cluster.Errorf(cluster.CodeInvalid, "failed to read filter expression: %v", fault)
			}
		}()
		if ok, err = evaluator.Evaluate(datum); err != nil {
			return false, cluster.Errorf(cluster.CodeInvalid, "failed to read filter expression: %w", err)
		}
		return ok, nil
	}, nil
}

// spellOut lets a filter see values that have a text (IDs, statuses, times) as that text.
func spellOut(v reflect.Value) reflect.Value {
	for v.Kind() == reflect.Interface && !v.IsNil() {
		v = v.Elem()
	}
	if !v.CanInterface() || v.Kind() == reflect.Pointer {
		return v
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return reflect.ValueOf(string(text))
		}
	}
	return v
}

// fieldsOf is the struct as a map, for filters: they do not see the fields of embedded structs.
func fieldsOf(value any) map[string]any {
	v := reflect.ValueOf(value)
	m := make(map[string]any, v.NumField()+4)
	for i := range v.NumField() {
		m[v.Type().Field(i).Name] = v.Field(i).Interface()
	}
	return m
}

// where keeps what passes the test.
func where[T any](objects iter.Seq[*T], keep func(*T) bool) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for object := range objects {
			if keep(object) && !yield(object) {
				return
			}
		}
	}
}

// inNamespace reports whether an object of the namespace belongs into the request's list.
func (r *request) inNamespace(namespace string) bool {
	return r.namespace == cluster.AllNamespaces || r.namespace == namespace
}
