package jobspec

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

const maxLocals = 1000 // local values of a file; each may refer to the one before

// variable is a declared variable and the value it has so far.
type variable struct {
	name        string
	at          hcl.Range
	kind        cty.Type // cty.DynamicPseudoType takes anything
	literal     bool     // a value given as text is that text, not an expression
	value       cty.Value
	given       bool // some value, be it a wrong one
	validations []*hcl.Block
}

// variables declares the file's variables, gives them values, and puts them into the root scope.
func (p *parser) variables(single, several hcl.Blocks) {
	declared := map[string]*variable{}
	declare := func(v *variable) {
		switch before, again := declared[v.name]; {
		case again:
			p.problem(v.at, "Duplicate variable", fmt.Sprintf("Variable %q was already declared at %s.", v.name, before.at))
		case !hclsyntax.ValidIdentifier(v.name):
			p.problem(v.at, "Invalid variable name", "A name starts with a letter or underscore and has only letters, digits, underscores and dashes.")
		default:
			declared[v.name] = v
		}
	}
	for _, b := range single {
		if v := p.declaration(b); v != nil {
			declare(v)
		}
	}
	for _, b := range several {
		attributes, diags := b.Body.JustAttributes()
		p.diags = append(p.diags, diags...)
		for _, attr := range inOrder(attributes) {
			if value, ok := p.eval(attr.Expr, p.functionScope()); ok {
				v := &variable{name: attr.Name, at: attr.NameRange, value: value}
				v.infer(cty.DynamicPseudoType)
				declare(v)
			}
		}
	}
	if p.diags.HasErrors() {
		return
	}
	p.assign(declared)
	values := map[string]cty.Value{}
	for _, v := range inFileOrder(declared) {
		if v.value == cty.NilVal && v.given {
			continue // what is wrong with it was said
		}
		if v.value == cty.NilVal {
			p.problem(v.at, fmt.Sprintf("Unset variable %q", v.name), fmt.Sprintf("A variable without default needs a value: -var %s=VALUE, a -var-file, or the environment variable CLUSTER_VAR_%s.", v.name, v.name))
			continue
		}
		p.validate(v)
		values[v.name] = v.value
	}
	p.root.Variables = map[string]cty.Value{"var": cty.ObjectVal(values)}
}

func inFileOrder(declared map[string]*variable) []*variable {
	return slices.SortedFunc(maps.Values(declared), func(a, b *variable) int { return cmp.Compare(a.at.Start.Byte, b.at.Start.Byte) })
}

// functionScope has the functions and no variables.
func (p *parser) functionScope() *hcl.EvalContext {
	return &hcl.EvalContext{Functions: p.root.Functions}
}

var variableSchema = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{{Name: "type"}, {Name: "default"}, {Name: "description"}},
	Blocks:     []hcl.BlockHeaderSchema{{Type: "validation"}},
}

// declaration reads a variable block; nil if it is wrong.
func (p *parser) declaration(b *hcl.Block) *variable {
	content, diags := b.Body.Content(variableSchema)
	p.diags = append(p.diags, diags...)
	v := &variable{name: b.Labels[0], at: b.DefRange, kind: cty.DynamicPseudoType, validations: content.Blocks}
	if attr := content.Attributes["type"]; attr != nil {
		kind, diags := typeOf(attr.Expr)
		p.diags = append(p.diags, diags...)
		if diags.HasErrors() {
			return nil
		}
		v.kind = kind
	}
	if attr := content.Attributes["default"]; attr != nil {
		value, ok := p.eval(attr.Expr, p.functionScope())
		if !ok {
			return nil
		}
		converted, err := convert.Convert(value, v.kind)
		if err != nil {
			p.problem(attr.Expr.Range(), "Invalid default value for variable", fmt.Sprintf("The default of %q is not compatible with its type: %s.", v.name, err))
			return nil
		}
		v.value = converted
	}
	v.infer(v.kind)
	if diags.HasErrors() {
		return nil
	}
	return v
}

// typeOf reads a type. In the JSON syntax it is a string that is parsed only here.
func typeOf(expr hcl.Expression) (cty.Type, hcl.Diagnostics) {
	if _, native := expr.(hclsyntax.Expression); !native {
		if text, _ := expr.Value(nil); text.Type() == cty.String && !text.IsNull() {
			if problem := checkNesting(File{expr.Range().Filename, []byte(text.AsString())}, hclsyntax.LexExpression); problem != nil {
				problem.Subject = expr.Range().Ptr()
				return cty.DynamicPseudoType, hcl.Diagnostics{problem}
			}
		}
	}
	return typeexpr.Type(expr)
}

// infer completes the type from the declared one and the default. The type of a list or an object without declaration
// stays open: that of its default would fix the number of its elements.
func (v *variable) infer(declared cty.Type) {
	v.kind = declared
	known := declared
	if declared == cty.DynamicPseudoType && v.value != cty.NilVal && !v.value.IsNull() {
		known = v.value.Type()
		if known.IsPrimitiveType() {
			v.kind = known
		}
	}
	v.literal = known == cty.String || known == cty.Number || known == cty.DynamicPseudoType
}

// environment is how messages begin to name where a value came from that is not shown: what is kept there is often a secret.
const environment = "the environment variable "

// assign gives the variables their values: environment, files, then the command line; later ones win.
func (p *parser) assign(declared map[string]*variable) {
	for _, prefix := range []string{"NOMAD_VAR_", "CLUSTER_VAR_"} {
		for _, entry := range p.config.Environ {
			name, text, _ := strings.Cut(entry, "=")
			if name, ours := strings.CutPrefix(name, prefix); ours && declared[name] != nil {
				source := environment + prefix + name
				p.hide(text, source)
				p.assignText(declared[name], text, source)
			}
		}
	}
	for _, f := range p.config.VariableFiles {
		p.assignFile(declared, f)
	}
	for _, name := range slices.Sorted(maps.Keys(p.config.Variables)) {
		if v := declared[name]; v != nil {
			p.assignText(v, p.config.Variables[name], "-var "+name)
		} else {
			all := &p.diags
			if p.config.Lenient {
				all = &p.warnings
			}
			*all = append(*all, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Undefined -var variable",
				Detail: fmt.Sprintf("A %q variable was set on the command line, but no variable of that name is declared.%s", clip(name, 40), hint(name, slices.Collect(maps.Keys(declared))))})
		}
	}
}

func (p *parser) assignFile(declared map[string]*variable, f File) {
	unread := func() { // the variables may be in it: none is called missing
		for _, v := range declared {
			v.given = true
		}
	}
	body := p.parse(f)
	if body == nil {
		unread()
		return
	}
	if native, ok := body.(*hclsyntax.Body); ok {
		for _, b := range native.Blocks {
			if b.Type == "variable" {
				p.problem(b.DefRange(), "Variable declaration in a variable file", `A variable is declared in the job file; here stands its value: name = value.`)
				unread()
				return
			}
		}
	}
	attributes, diags := body.JustAttributes()
	p.diags = append(p.diags, diags...)
	if diags.HasErrors() {
		unread()
	}
	for _, attr := range inOrder(attributes) {
		v := declared[attr.Name]
		if v == nil {
			text := fmt.Sprintf("A %q variable was set but is not declared in the job file.%s", attr.Name, hint(attr.Name, slices.Collect(maps.Keys(declared))))
			if p.config.Lenient {
				p.warn(attr.NameRange, "%s", text)
			} else {
				p.problem(attr.NameRange, "Undefined variable", text)
			}
			continue
		}
		p.assignConstant(v, attr.Expr)
	}
}

// assignText gives a variable a value that came as text. The text of a string or number is the value itself, any other is an expression.
func (p *parser) assignText(v *variable, text, source string) {
	at := hcl.Range{Filename: "value of " + source, Start: hcl.InitialPos, End: hcl.InitialPos}
	v.given = true
	if !strings.HasPrefix(source, environment) {
		p.files[at.Filename] = []byte(text)
	}
	if problem := checkText(File{at.Filename, []byte(text)}); problem != nil {
		problem.Summary, problem.Detail = "Not a text", strings.Replace(problem.Detail, "A job file", "A value", 1)
		p.diags = append(p.diags, problem)
		return
	}
	if v.literal {
		p.set(v, cty.StringVal(text), at)
		return
	}
	if problem := checkNesting(File{at.Filename, []byte(text)}, hclsyntax.LexExpression); problem != nil {
		p.diags = append(p.diags, problem)
		return
	}
	expr, diags := hclsyntax.ParseExpression([]byte(text), at.Filename, hcl.InitialPos)
	p.diags = append(p.diags, diags...)
	if !diags.HasErrors() {
		p.assignConstant(v, expr)
	}
}

// assignConstant gives a variable the value of an expression without references.
func (p *parser) assignConstant(v *variable, expr hcl.Expression) {
	v.given = true
	native, diags := nativeExpression(expr)
	if diags.HasErrors() {
		p.diags = append(p.diags, diags...)
		return
	}
	if references := native.Variables(); len(references) > 0 {
		p.problem(references[0].SourceRange(), "Variables not allowed", "A value may not refer to names. Write strings in quotes.")
		return
	}
	if value, ok := p.eval(native, p.functionScope()); ok {
		p.set(v, value, expr.Range())
	}
}

func (p *parser) set(v *variable, value cty.Value, at hcl.Range) {
	converted, err := convert.Convert(value, v.kind)
	if err != nil {
		p.problem(at, "Invalid value for variable", fmt.Sprintf("The value of %q is not compatible with its type: %s.", v.name, err))
		return
	}
	v.value = converted
}

var validationSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "condition", Required: true}, {Name: "error_message", Required: true}}}

// validate checks a variable's value by the rules of its declaration, which may refer to it alone.
func (p *parser) validate(v *variable) {
	scope := p.functionScope()
	scope.Variables = map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{v.name: v.value})}
	for _, b := range v.validations {
		content, diags := b.Body.Content(validationSchema)
		p.diags = append(p.diags, diags...)
		if diags.HasErrors() {
			continue
		}
		message, ok := p.eval(content.Attributes["error_message"].Expr, scope)
		if !ok {
			continue
		}
		if message.IsNull() || message.Type() != cty.String || message.AsString() == "" {
			p.problem(content.Attributes["error_message"].Range, "Invalid validation error message", "The error message is a text that is not empty.")
			continue
		}
		condition := content.Attributes["condition"]
		value, ok := p.eval(condition.Expr, scope)
		if !ok {
			continue
		}
		holds, err := convert.Convert(value, cty.Bool)
		if err != nil || holds.IsNull() {
			p.problem(condition.Range, "Invalid variable validation result", "A condition is true or false.")
			continue
		}
		if holds.False() {
			p.problem(v.at, "Invalid value for variable", fmt.Sprintf("%s This was checked by the validation rule at %s.", message.AsString(), b.DefRange))
		}
	}
}

// locals evaluates the local values in the order in which they need one another.
func (p *parser) locals(blocks hcl.Blocks) {
	all := map[string]*hcl.Attribute{}
	for _, b := range blocks {
		attributes, diags := b.Body.JustAttributes()
		p.diags = append(p.diags, diags...)
		for _, attr := range inOrder(attributes) {
			if before := all[attr.Name]; before != nil {
				p.problem(attr.NameRange, "Duplicate local value", fmt.Sprintf("Local value %q was already defined at %s.", attr.Name, before.NameRange))
				continue
			}
			all[attr.Name] = attr
		}
	}
	if len(all) > maxLocals {
		p.problem(blocks[0].DefRange, "Too many local values", fmt.Sprintf("A file may have %d local values.", maxLocals))
		return
	}
	l := localOrder{parser: p, all: all, values: map[string]cty.Value{}, begun: map[string]bool{}}
	for _, attr := range inOrder(all) {
		l.visit(attr)
	}
	p.root.Variables["local"] = cty.ObjectVal(l.values)
}

type localOrder struct {
	parser *parser
	all    map[string]*hcl.Attribute
	values map[string]cty.Value
	begun  map[string]bool
	cyclic bool // one was found: the rest would only repeat it
}

// visit evaluates a local value after those it refers to.
func (l *localOrder) visit(attr *hcl.Attribute) {
	if _, done := l.values[attr.Name]; done || l.cyclic {
		return
	}
	if l.begun[attr.Name] {
		l.cyclic = true
		l.parser.problem(attr.NameRange, "Cycle of local values", fmt.Sprintf("The value of %q needs itself.", attr.Name))
		return
	}
	l.begun[attr.Name] = true
	native, diags := nativeExpression(attr.Expr)
	if diags.HasErrors() {
		l.parser.diags = append(l.parser.diags, diags...)
		return
	}
	needs := map[string]cty.Value{}
	for _, reference := range native.Variables() {
		if reference.RootName() != "local" {
			continue
		}
		name, ok := secondName(reference)
		if !ok {
			l.parser.problem(reference.SourceRange(), "Invalid reference", "A local value may refer to another by its name alone, as in local.name: all of them together include itself.")
			return
		}
		if l.all[name] == nil {
			continue
		}
		l.visit(l.all[name])
		if value, ok := l.values[name]; ok {
			needs[name] = value
		} else {
			return // it is wrong, and that was said
		}
	}
	scope := l.parser.root.NewChild()
	scope.Variables = map[string]cty.Value{"local": cty.ObjectVal(needs)}
	if value, ok := l.parser.eval(native, scope); ok {
		l.values[attr.Name] = value
	}
}

// secondName is the name after the root of a reference: x of both local.x and local["x"].
func secondName(reference hcl.Traversal) (string, bool) {
	if len(reference) < 2 {
		return "", false
	}
	switch step := reference[1].(type) {
	case hcl.TraverseAttr:
		return step.Name, true
	case hcl.TraverseIndex:
		if step.Key.Type() == cty.String && !step.Key.IsNull() {
			return step.Key.AsString(), true
		}
	}
	return "", false
}
