package jobspec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// A reference to a root that has no value here (attr, node, meta, env, NOMAD_…) is renamed, in the syntax tree, to
// one name that begins with literalMark, and this name gets the reference's own text as its value. So it survives inside
// every template, function and condition, and `meta.a` beside `meta.a.b` is no contradiction.
const literalMark = "\x00"

// eval is the value of an expression, wholly known. Problems are noted; ok is then false.
func (p *parser) eval(expr hcl.Expression, scope *hcl.EvalContext) (value cty.Value, ok bool) {
	if p.budget < 0 { // that was said already
		return cty.NilVal, false
	}
	native, diags := nativeExpression(expr)
	if !diags.HasErrors() {
		r := &resolver{parser: p, scope: scope, literals: map[string]cty.Value{}}
		diags = hclsyntax.Walk(native, r)
		if !diags.HasErrors() {
			inner := scope.NewChild()
			inner.Variables = r.literals
			value, diags = native.Value(inner)
		}
	}
	if !diags.HasErrors() {
		if !value.IsWhollyKnown() {
			diags = hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Unsuitable value", Detail: "The value must be known.", Subject: expr.Range().Ptr()}}
		} else if err := p.charge(value); err != nil {
			diags = hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Expression too large", Detail: err.Error(), Subject: expr.Range().Ptr()}}
		}
	}
	p.diags = append(p.diags, diags...)
	return value, !diags.HasErrors()
}

// nativeExpression is the expression as a tree of the native syntax. In the JSON syntax every string is a template.
func nativeExpression(expr hcl.Expression) (hclsyntax.Expression, hcl.Diagnostics) {
	if native, ok := expr.(hclsyntax.Expression); ok {
		return native, nil
	}
	at := expr.Range()
	if pairs, diags := hcl.ExprMap(expr); !diags.HasErrors() {
		object := &hclsyntax.ObjectConsExpr{SrcRange: at, OpenRange: at}
		for _, pair := range pairs {
			key, diags := nativeExpression(pair.Key)
			if diags.HasErrors() {
				return nil, diags
			}
			value, diags := nativeExpression(pair.Value)
			if diags.HasErrors() {
				return nil, diags
			}
			object.Items = append(object.Items, hclsyntax.ObjectConsItem{KeyExpr: key, ValueExpr: value})
		}
		return object, nil
	}
	if items, diags := hcl.ExprList(expr); !diags.HasErrors() {
		tuple := &hclsyntax.TupleConsExpr{SrcRange: at, OpenRange: at}
		for _, item := range items {
			native, diags := nativeExpression(item)
			if diags.HasErrors() {
				return nil, diags
			}
			tuple.Exprs = append(tuple.Exprs, native)
		}
		return tuple, nil
	}
	value, diags := expr.Value(nil)
	if diags.HasErrors() || value.IsNull() || value.Type() != cty.String {
		return &hclsyntax.LiteralValueExpr{Val: value, SrcRange: at}, diags
	}
	text := []byte(value.AsString())
	if problem := checkTemplate(File{at.Filename, text}); problem != nil {
		problem.Subject = &at
		return nil, hcl.Diagnostics{problem}
	}
	start := at.Start
	start.Column++ // the quote
	start.Byte++
	return hclsyntax.ParseTemplate(text, at.Filename, start)
}

// resolver prepares a syntax tree for evaluation in a scope: literals get their text, and what can multiply is metered.
// Doing it twice is harmless; the content of a dynamic block is evaluated once for each block.
type resolver struct {
	parser   *parser
	scope    *hcl.EvalContext
	locals   []map[string]struct{} // names of the for expressions around
	literals map[string]cty.Value

	types    map[hclsyntax.Node]bool // arguments that are types, whose names refer to nothing
	attempts map[hclsyntax.Node]bool // arguments of try and can, which may fail
	inType   int                     // how many of them are around
	inTry    int
	inText   int // how many templates are around
}

// Enter implements hclsyntax.Walker.
func (r *resolver) Enter(node hclsyntax.Node) hcl.Diagnostics {
	if m, ok := node.(*metered); ok {
		node = m.Expression
	}
	r.around(node, +1)
	switch n := node.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		return r.reference(n)
	case hclsyntax.ChildScope:
		r.locals = append(r.locals, n.LocalNames)
	case *hclsyntax.FunctionCallExpr:
		return r.call(n)
	case *hclsyntax.LiteralValueExpr:
		if err := checkNumber(n.Val); err != nil {
			return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Number out of range", Detail: err.Error(), Subject: n.SrcRange.Ptr()}}
		}
	case *hclsyntax.TemplateExpr:
		for i := range n.Parts {
			n.Parts[i] = r.meter(n.Parts[i])
		}
	case *hclsyntax.ConditionalExpr:
		n.TrueResult, n.FalseResult = r.meter(n.TrueResult), r.meter(n.FalseResult)
	case *hclsyntax.SplatExpr:
		n.Source, n.Each = r.meter(n.Source), r.meter(n.Each)
	case *hclsyntax.BinaryOpExpr:
		n.LHS, n.RHS = r.meter(n.LHS), r.meter(n.RHS)
	case *hclsyntax.ForExpr:
		n.CollExpr, n.ValExpr = r.meter(n.CollExpr), r.meter(n.ValExpr)
		if n.KeyExpr != nil {
			n.KeyExpr = r.meter(n.KeyExpr)
		}
	}
	return nil
}

// Exit implements hclsyntax.Walker.
func (r *resolver) Exit(node hclsyntax.Node) hcl.Diagnostics {
	if m, ok := node.(*metered); ok {
		node = m.Expression
	}
	if _, ok := node.(hclsyntax.ChildScope); ok {
		r.locals = r.locals[:len(r.locals)-1]
	}
	r.around(node, -1)
	return nil
}

// around keeps count of the special arguments that the walk is in.
func (r *resolver) around(node hclsyntax.Node, step int) {
	if _, isScope := node.(hclsyntax.ChildScope); isScope {
		return // it is no key of a map, and no argument
	}
	switch node.(type) {
	case *hclsyntax.TemplateExpr, *hclsyntax.TemplateWrapExpr:
		r.inText += step
	}
	if r.types[node] {
		r.inType += step
	}
	if r.attempts[node] {
		r.inTry += step
	}
}

// call is a diagnostic if a function does not exist, and notes its special arguments.
func (r *resolver) call(n *hclsyntax.FunctionCallExpr) hcl.Diagnostics {
	if r.inType > 0 { // list(string)
		return nil
	}
	if known := r.parser.function(n.Name); !known && r.inTry == 0 {
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Call to unknown function", Subject: n.NameRange.Ptr(),
			Detail: fmt.Sprintf("There is no function named %q.%s", n.Name, hint(n.Name, functionNames()))}}
	}
	switch {
	case n.Name == "convert" && len(n.Args) == 2:
		n.Args[0] = r.meter(n.Args[0])
		r.types = noting(r.types, n.Args[1:])
	case n.Name == "try" || n.Name == "can": // they look at expressions: what these evaluate is metered
		r.attempts = noting(r.attempts, n.Args)
	default:
		for i := range n.Args {
			n.Args[i] = r.meter(n.Args[i])
		}
	}
	return nil
}

func noting(nodes map[hclsyntax.Node]bool, more []hclsyntax.Expression) map[hclsyntax.Node]bool {
	if nodes == nil {
		nodes = map[hclsyntax.Node]bool{}
	}
	for _, node := range more {
		nodes[node] = true
	}
	return nodes
}

func (r *resolver) reference(n *hclsyntax.ScopeTraversalExpr) hcl.Diagnostics {
	if r.inType > 0 {
		return nil
	}
	root := n.Traversal.RootName()
	if text, isLiteral := strings.CutPrefix(root, literalMark); isLiteral {
		r.literals[root] = cty.StringVal(text)
		return nil
	}
	for _, names := range r.locals {
		if _, isLocal := names[root]; isLocal {
			return nil
		}
	}
	if root == "var" || root == "local" {
		if r.inTry > 0 {
			return nil
		}
		return r.declared(n, root)
	}
	for scope := r.scope; scope != nil; scope = scope.Parent() {
		if _, known := scope.Variables[root]; known {
			return nil
		}
	}
	text := spell(n.Traversal)
	if r.inText == 0 && r.inTry == 0 {
		r.parser.warnReference(root, text, n.SrcRange)
	}
	n.Traversal = hcl.Traversal{hcl.TraverseRoot{Name: literalMark + text, SrcRange: n.SrcRange}}
	r.literals[literalMark+text] = cty.StringVal(text)
	return nil
}

// declared is a diagnostic if a variable or local does not exist; hcl's own would not name the near ones.
func (r *resolver) declared(n *hclsyntax.ScopeTraversalExpr, root string) hcl.Diagnostics {
	what := map[string]string{"var": "variable", "local": "local value"}[root]
	for scope := r.scope; scope != nil; scope = scope.Parent() {
		values, known := scope.Variables[root]
		if !known {
			continue
		}
		if len(n.Traversal) == 1 {
			return nil
		}
		attr, ok := n.Traversal[1].(hcl.TraverseAttr)
		if !ok || values.Type().HasAttribute(attr.Name) {
			return nil
		}
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Unsupported attribute", Subject: attr.SrcRange.Ptr(),
			Detail: fmt.Sprintf("There is no %s named %q.%s", what, attr.Name, hint(attr.Name, slices.Collect(maps.Keys(values.Type().AttributeTypes()))))}}
	}
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Variables not allowed", Subject: n.SrcRange.Ptr(),
		Detail: fmt.Sprintf("A %s may not be used here.", what)}}
}

// spell is a reference as it stands in a template.
func spell(t hcl.Traversal) string {
	var b strings.Builder
	b.WriteString("${")
	for _, step := range t {
		switch s := step.(type) {
		case hcl.TraverseRoot:
			b.WriteString(s.Name)
		case hcl.TraverseAttr:
			b.WriteString("." + s.Name)
		case hcl.TraverseIndex:
			if s.Key.Type() == cty.String {
				fmt.Fprintf(&b, "[%q]", s.Key.AsString())
				continue
			}
			number := s.Key.AsBigFloat().Text('f', -1)
			if s.SrcRange.End.Byte-s.SrcRange.Start.Byte == len("."+number) { // attr.gpu.0
				b.WriteString("." + number)
			} else {
				b.WriteString("[" + number + "]")
			}
		}
	}
	return b.String() + "}"
}
