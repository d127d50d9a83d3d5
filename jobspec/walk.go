package jobspec

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/a43e60e4/cluster"
)

// isNative reports whether a body is of the native syntax. In JSON an object may be an attribute or a block: the
// schema decides, so a name must not be both there.
func isNative(body hcl.Body) bool {
	_, ok := body.(*hclsyntax.Body)
	return ok
}

// shortForms are what the block of a constraint or an affinity may hold beside its fields: operators as names. True are those
// whose value is the operator's; the ecosystem's parser lets the others pass for constraints and does nothing with them.
var shortForms = map[reflect.Type]map[string]bool{
	reflect.TypeFor[cluster.Constraint](): {
		"version": true, "semver": true, "regexp": true, "set_contains": true, "distinct_hosts": true, "distinct_property": true,
		"set_contains_any": false, "set_contains_all": false, "is_set": false, "is_not_set": false,
	},
	reflect.TypeFor[cluster.Affinity](): {
		"version": true, "semver": true, "regexp": true, "set_contains": true, "set_contains_any": true, "set_contains_all": true,
	},
}

// inherited are the blocks that may be written in a noun's block for those of a noun inside it, by their names.
func inherited(noun reflect.Type) map[string]cluster.Field {
	found := map[string]cluster.Field{}
	if noun == reflect.TypeFor[cluster.Job]() || noun == reflect.TypeFor[cluster.TaskGroup]() {
		for _, f := range cluster.Fields(reflect.TypeFor[cluster.Task]()) {
			if f.Inherit {
				found[f.HCL] = f
			}
		}
	}
	return found
}

// schema is what may be written in a noun's block.
func schema(noun reflect.Type, native bool) *hcl.BodySchema {
	key := schemaKey{noun, native}
	if known, ok := schemas.Load(key); ok {
		return known.(*hcl.BodySchema)
	}
	s := &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "dynamic", LabelNames: []string{"type"}}}}
	attribute := func(name string, required bool) {
		s.Attributes = append(s.Attributes, hcl.AttributeSchema{Name: name, Required: required})
	}
	block := func(name string, labels []string) {
		s.Blocks = append(s.Blocks, hcl.BlockHeaderSchema{Type: name, LabelNames: labels})
	}
	for _, f := range cluster.Fields(noun) {
		switch {
		case f.HCL == "" || f.Kind == cluster.FieldLabel:
		case f.Kind == cluster.FieldBlock:
			block(f.HCL, labelNames(f.Noun()))
		case f.Kind == cluster.FieldBody:
			block(f.HCL, nil)
		default:
			attribute(f.HCL, f.Required)
			if f.Type.Kind() == reflect.Map && native {
				block(f.HCL, nil)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(shortForms[noun])) {
		attribute(name, false)
	}
	for _, f := range inherited(noun) {
		block(f.HCL, labelNames(f.Noun()))
	}
	if noun == reflect.TypeFor[cluster.Job]() {
		attribute("id", false)
		block("task", []string{"name"})
	}
	schemas.Store(key, s)
	return s
}

type schemaKey struct {
	noun   reflect.Type
	native bool
}

var schemas sync.Map // schemaKey → *hcl.BodySchema, which nobody modifies

func labelNames(noun reflect.Type) []string {
	if cluster.Label(noun) != nil {
		return []string{"name"}
	}
	return nil
}

// content is what is in a noun's block.
func (p *parser) content(at place, noun reflect.Type) *hcl.BodyContent {
	content, diags := at.Body.Content(schema(noun, isNative(at.Body)))
	p.diags = append(p.diags, p.explain(diags, noun)...)
	return content
}

// explain adds to hcl's diagnostics what they could not know: where a name belongs.
func (p *parser) explain(diags hcl.Diagnostics, noun reflect.Type) hcl.Diagnostics {
	for _, diag := range diags {
		var name string
		isBlock, _ := fmt.Sscanf(diag.Detail, "Blocks of type %q are not expected here.", &name)
		isAttribute, _ := fmt.Sscanf(diag.Detail, "An argument named %q is not expected here.", &name)
		if isBlock+isAttribute == 0 || strings.Contains(diag.Detail, "Did you mean to define") {
			continue
		}
		found := homes(name, isBlock > 0)
		if len(found) == 0 {
			found = homes(name, isBlock == 0)
		}
		if len(found) > 0 { // it is no misspelling
			detail, _, _ := strings.Cut(diag.Detail, " Did you mean")
			diag.Detail = detail + fmt.Sprintf(" It belongs into %s.", strings.Join(found, " or "))
		}
	}
	return diags
}

// homes lists the blocks that know a name as that of a block or of an argument, up to three.
func homes(name string, isBlock bool) []string {
	var found []string
	seen := map[reflect.Type]bool{}
	var visit func(noun reflect.Type, block string)
	visit = func(noun reflect.Type, block string) {
		seen[noun] = true
		knows := false
		for _, f := range cluster.Fields(noun) {
			if f.HCL == "" || f.Kind == cluster.FieldLabel {
				continue
			}
			either := f.Kind == cluster.FieldAttribute && f.Type.Kind() == reflect.Map
			knows = knows || f.HCL == name && (either || isBlock == (f.Kind != cluster.FieldAttribute))
			if inner := f.Noun(); inner != nil && !seen[inner] {
				visit(inner, f.HCL)
			}
		}
		if knows {
			found = append(found, strconv.Quote(block))
		}
	}
	visit(reflect.TypeFor[cluster.Job](), "job")
	slices.Sort(found)
	return found[:min(len(found), 3)]
}

// noun walks over the block of a noun and makes its JSON. Problems are collected; the tree is then not complete.
func (p *parser) noun(at place, noun reflect.Type, path cluster.Path) map[string]any {
	content := p.content(at, noun)
	tree := map[string]any{}
	for _, attr := range inOrder(content.Attributes) {
		where := path.Field(attr.Name)
		p.ranges[where] = attr.NameRange
		if _, short := shortForms[noun][attr.Name]; !short {
			p.attribute(tree, noun, attr, at.scope)
		}
	}
	for _, attr := range inOrder(content.Attributes) { // they win, wherever they stand
		if _, short := shortForms[noun][attr.Name]; short {
			p.ranges[path.Field("value")], p.ranges[path.Field("operator")] = attr.NameRange, attr.NameRange
			p.attribute(tree, noun, attr, at.scope)
		}
	}
	earlier := map[string][]*hcl.Block{} // by type
	for _, b := range p.expand(content.Blocks, at.scope, noun) {
		p.block(tree, noun, b, path, earlier[b.Type])
		earlier[b.Type] = append(earlier[b.Type], b.Block)
		if attr := content.Attributes[b.Type]; attr != nil {
			p.problem(b.DefRange, "Duplicate "+b.Type+" block", b.Type+" may be written only once. Another was defined at "+attr.NameRange.String()+".")
		}
	}
	p.warnTemplate(tree, noun, path)
	if noun == reflect.TypeFor[cluster.TaskGroup]() {
		tasks, _ := tree["Tasks"].([]any)
		pass(tree, tasks)
	}
	return tree
}

func inOrder(attributes hcl.Attributes) []*hcl.Attribute {
	return slices.SortedFunc(maps.Values(attributes), func(a, b *hcl.Attribute) int {
		return cmp.Or(cmp.Compare(a.Range.Start.Byte, b.Range.Start.Byte), cmp.Compare(a.Name, b.Name))
	})
}

// attribute puts one attribute into the tree.
func (p *parser) attribute(tree map[string]any, noun reflect.Type, attr *hcl.Attribute, scope *hcl.EvalContext) {
	value, ok := p.eval(attr.Expr, scope)
	if !ok {
		return
	}
	at := attr.Expr.Range()
	for _, f := range cluster.Fields(noun) {
		if f.HCL == attr.Name && (f.Kind == cluster.FieldAttribute || f.Kind == cluster.FieldLabel) {
			converted := p.convert(value, f.Type, at)
			if text, ok := converted.(string); ok {
				p.warnText(value, text, attr)
			}
			if converted != nil {
				tree[f.Name] = converted
			}
			return
		}
	}
	p.shortForm(tree, noun, attr, value)
}

// shortForm puts the short form of a constraint or an affinity (regexp = "x") into the tree as its long form.
func (p *parser) shortForm(tree map[string]any, noun reflect.Type, attr *hcl.Attribute, value cty.Value) {
	if works, short := shortForms[noun][attr.Name]; short && !works {
		p.problem(attr.NameRange, "Unsupported argument", fmt.Sprintf("There is no short form of this operator: write operator = %q.", attr.Name))
		return
	}
	text, ok := p.convert(value, reflect.TypeFor[string](), attr.Expr.Range()).(string)
	if !ok {
		return
	}
	target, means := "RTarget", "value"
	if attr.Name == "distinct_property" {
		target, means = "LTarget", "attribute"
	}
	if tree[target] != nil || tree["Operand"] != nil && tree["Operand"] != attr.Name {
		p.warn(attr.NameRange, "%s says operator and %s: what else the block says of these does not count; remove it", attr.Name, means)
	}
	tree[target], tree["Operand"] = text, attr.Name
}

// block puts one block into the tree. earlier are those of its type that came before it.
func (p *parser) block(tree map[string]any, noun reflect.Type, b place, path cluster.Path, earlier []*hcl.Block) {
	for _, f := range cluster.Fields(noun) {
		if f.HCL != b.Type || f.Kind == cluster.FieldLabel {
			continue
		}
		switch {
		case f.Kind == cluster.FieldBlock && f.Type.Kind() == reflect.Slice:
			p.element(tree, f, b, path, len(earlier))
			return
		case f.Kind == cluster.FieldBlock && f.Type.Kind() == reflect.Map:
			p.labelled(tree, f, b, path)
			return
		}
		if len(earlier) > 0 {
			p.problem(b.DefRange, "Duplicate "+b.Type+" block", "Only one "+b.Type+" block is allowed. Another was defined at "+earlier[0].DefRange.String()+".")
			return
		}
		where := path.Field(b.Type)
		p.ranges[where] = b.DefRange
		switch {
		case f.Kind == cluster.FieldBody:
			tree[f.Name] = p.body(b)
			p.bodyRanges(b, where)
		case f.Kind == cluster.FieldBlock:
			tree[f.Name] = p.noun(b, f.Noun(), where)
		default:
			tree[f.Name] = p.mapBlock(b, f.Type, where)
		}
		return
	}
	if f, ok := inherited(noun)[b.Type]; ok {
		p.inheritance(tree, f, b, path)
		return
	}
	p.taskOfJob(b)
}

// inheritance keeps a block that stands for those of the tasks inside it: see pass.
func (p *parser) inheritance(tree map[string]any, f cluster.Field, b place, path cluster.Path) {
	label, where := cluster.Label(f.Noun()), path.Field(b.Type)
	if label != nil {
		where = path.Label(b.Type, b.Labels[0])
	}
	p.ranges[where] = b.DefRange
	inner := p.noun(b, f.Noun(), where)
	if label != nil {
		inner[label.Name] = b.Labels[0]
	}
	key := "\x00" + f.Name
	list, _ := tree[key].([]any)
	tree[key] = append(list, inner)
}

// pass gives a noun's tasks what is written around them: what a task can have several of is added to its own, else its own wins.
func pass(tree map[string]any, tasks []any) {
	for _, f := range inherited(reflect.TypeFor[cluster.Job]()) {
		given, _ := tree["\x00"+f.Name].([]any)
		delete(tree, "\x00"+f.Name)
		for _, task := range tasks {
			t := task.(map[string]any)
			switch own, several := t[f.Name].([]any); {
			case len(given) == 0:
			case several || f.Type.Kind() == reflect.Slice:
				t[f.Name] = append(own, given...)
			case t[f.Name] == nil:
				t[f.Name] = given[len(given)-1]
			}
		}
	}
}

// labelled puts a labelled block of which each label occurs once into its map.
func (p *parser) labelled(tree map[string]any, f cluster.Field, b place, path cluster.Path) {
	where := path.Label(b.Type, b.Labels[0])
	all, _ := tree[f.Name].(map[string]any)
	if all == nil {
		all = map[string]any{}
		tree[f.Name] = all
	}
	if all[b.Labels[0]] != nil {
		p.problem(b.DefRange, "Duplicate "+b.Type+" block", fmt.Sprintf("There is a %s %q already, at %s.", b.Type, b.Labels[0], p.ranges[where]))
		return
	}
	p.ranges[where] = b.DefRange
	all[b.Labels[0]] = p.noun(b, f.Noun(), where)
}

// element appends a repeated block to its list.
func (p *parser) element(tree map[string]any, f cluster.Field, b place, path cluster.Path, index int) {
	inner := f.Noun()
	label := cluster.Label(inner)
	where := path.Index(b.Type, index)
	if label != nil {
		where = path.Label(b.Type, b.Labels[0])
	}
	p.ranges[where] = b.DefRange
	if label != nil { // a completed job may not have the label any more
		p.ranges[where.Field(label.HCL)], p.ranges[path.Index(b.Type, index)] = b.DefRange, b.DefRange
		p.aliases[path.Index(b.Type, index)] = where
	}
	element := p.noun(b, inner, where)
	if label != nil {
		element[label.Name] = b.Labels[0]
	}
	p.identityAlias(f, element, path, where)
	list, _ := tree[f.Name].([]any)
	tree[f.Name] = append(list, element)
}

// taskOfJob makes a group of a task that stands directly in the job.
func (p *parser) taskOfJob(b place) {
	name := b.Labels[0]
	group := cluster.Path("").Label("group", name)
	task := group.Label("task", name)
	p.ranges[group], p.ranges[task] = b.DefRange, b.DefRange
	p.warn(b.DefRange, "the task stands directly in the job: it gets a group of its own, which is called %.40q too", name)
	element := p.noun(b, reflect.TypeFor[cluster.Task](), task)
	element["Name"] = name
	p.shorthands = append(p.shorthands, map[string]any{"Name": name, "Tasks": []any{element}})
}

// mapBlock reads a map written as a block: env { A = "b" }.
func (p *parser) mapBlock(b place, t reflect.Type, path cluster.Path) any {
	attributes, diags := b.Body.JustAttributes()
	p.diags = append(p.diags, diags...)
	result := map[string]any{}
	for _, attr := range inOrder(attributes) {
		p.ranges[path.Field(clip(attr.Name, 40))] = attr.NameRange
		value, ok := p.eval(attr.Expr, b.scope)
		if !ok {
			continue
		}
		converted := p.convert(value, t.Elem(), attr.Expr.Range())
		if text, ok := converted.(string); ok {
			p.warnText(value, text, attr)
		}
		if converted != nil {
			result[attr.Name] = converted
		}
	}
	return result
}
