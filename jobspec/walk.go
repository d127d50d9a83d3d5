package jobspec

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

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

// extraAttributes and extraBlocks are what a noun's block may hold beside its fields and the unsupported settings.
var extraAttributes = map[reflect.Type][]string{
	reflect.TypeFor[cluster.Job](): {"id"},
	reflect.TypeFor[cluster.Constraint](): {
		"version", "semver", "regexp", "set_contains", "distinct_hosts", "distinct_property",
		"set_contains_any", "set_contains_all", "is_set", "is_not_set",
	},
}

var extraBlocks = map[reflect.Type][]hcl.BlockHeaderSchema{
	reflect.TypeFor[cluster.Job](): {{Type: "task", LabelNames: []string{"name"}}},
}

// schema is what may be written in a noun's block.
func schema(noun reflect.Type, native bool) *hcl.BodySchema {
	s := &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "dynamic", LabelNames: []string{"type"}}}}
	attributes := map[string]bool{}
	addAttribute := func(name string) {
		if !attributes[name] {
			attributes[name] = true
			s.Attributes = append(s.Attributes, hcl.AttributeSchema{Name: name})
		}
	}
	blocks := map[string]bool{}
	addBlock := func(name string, labels ...string) {
		if !blocks[name] {
			blocks[name] = true
			s.Blocks = append(s.Blocks, hcl.BlockHeaderSchema{Type: name, LabelNames: labels})
		}
	}
	for _, f := range cluster.Fields(noun) {
		switch {
		case f.HCL == "" || f.Kind == cluster.FieldLabel:
		case f.Kind == cluster.FieldBlock:
			addBlock(f.HCL, labelNames(f.Type)...)
		case f.Kind == cluster.FieldBody:
			addBlock(f.HCL)
		default:
			addAttribute(f.HCL)
			if f.Type.Kind() == reflect.Map && native {
				addBlock(f.HCL)
			}
		}
	}
	for _, name := range extraAttributes[noun] {
		addAttribute(name)
	}
	for _, b := range extraBlocks[noun] {
		addBlock(b.Type, b.LabelNames...)
	}
	for _, setting := range cluster.Unsupported(noun) {
		if setting.HCL != "" && !blocks[setting.HCL] {
			addAttribute(setting.HCL)
		}
	}
	return s
}

func labelNames(t reflect.Type) []string {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if cluster.Label(t) != nil {
		return []string{"name"}
	}
	return nil
}

// content is what is in a noun's block. Blocks that are not supported yet are taken out beforehand, whatever
// their labels, since the schema could not tell them from misspelt ones.
func (p *parser) content(at place, noun reflect.Type) *hcl.BodyContent {
	body := at.Body
	native, ok := body.(*hclsyntax.Body)
	if ok {
		refused := map[string]cluster.Setting{}
		for _, setting := range cluster.Unsupported(noun) {
			if setting.Block {
				refused[setting.HCL] = setting
			}
		}
		kept := *native
		kept.Blocks = nil
		for _, b := range native.Blocks {
			name := b.Type
			if name == "dynamic" && len(b.Labels) == 1 {
				name = b.Labels[0]
			}
			if setting, refuse := refused[name]; refuse {
				p.problem(b.DefRange(), "", setting.Refusal())
				continue
			}
			kept.Blocks = append(kept.Blocks, b)
		}
		body = &kept
	}
	content, diags := body.Content(schema(noun, ok))
	p.diags = append(p.diags, p.explain(diags, noun)...)
	return content
}

// explain adds to hcl's diagnostics what they could not know: the names that are not in the schema, and where a name belongs.
func (p *parser) explain(diags hcl.Diagnostics, noun reflect.Type) hcl.Diagnostics {
	var names []string
	for _, setting := range cluster.Unsupported(noun) {
		if setting.Block {
			names = append(names, setting.HCL)
		}
	}
	for _, diag := range diags {
		var name string
		isBlock, _ := fmt.Sscanf(diag.Detail, "Blocks of type %q are not expected here.", &name)
		isAttribute, _ := fmt.Sscanf(diag.Detail, "An argument named %q is not expected here.", &name)
		if isBlock+isAttribute == 0 || strings.Contains(diag.Detail, "Did you mean") {
			continue
		}
		if homes := homes(name); len(homes) > 0 {
			diag.Detail += fmt.Sprintf(" It belongs into %s.", strings.Join(homes, " or "))
		} else if isBlock == 1 {
			diag.Detail += hint(name, names)
		}
	}
	return diags
}

// homes lists the blocks that know a name.
func homes(name string) []string {
	var found []string
	seen := map[reflect.Type]bool{}
	var visit func(noun reflect.Type, block string)
	visit = func(noun reflect.Type, block string) {
		seen[noun] = true
		knows := slices.ContainsFunc(cluster.Unsupported(noun), func(s cluster.Setting) bool { return s.HCL == name })
		for _, f := range cluster.Fields(noun) {
			if f.HCL == "" || f.Kind == cluster.FieldLabel {
				continue
			}
			knows = knows || f.HCL == name
			inner := f.Type
			for inner.Kind() == reflect.Slice || inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if f.Kind == cluster.FieldBlock && !seen[inner] {
				visit(inner, f.HCL)
			}
		}
		if knows {
			found = append(found, strconv.Quote(block))
		}
	}
	visit(reflect.TypeFor[cluster.Job](), "job")
	slices.Sort(found)
	return found
}

// noun walks over the block of a noun and makes its JSON. Problems are collected; the tree is then not complete.
func (p *parser) noun(at place, noun reflect.Type, path cluster.Path) map[string]any {
	content := p.content(at, noun)
	tree := map[string]any{}
	for _, attr := range inOrder(content.Attributes) {
		where := path.Field(attr.Name)
		p.ranges[where] = attr.NameRange
		if noun == reflect.TypeFor[cluster.Constraint]() && slices.Contains(extraAttributes[noun], attr.Name) {
			p.ranges[path.Field("value")] = attr.NameRange
		}
		p.attribute(tree, noun, attr, at.scope)
	}
	earlier := map[string][]*hcl.Block{} // by type
	for _, b := range p.expand(content.Blocks, at.scope, noun) {
		p.block(tree, noun, b, path, earlier[b.Type])
		earlier[b.Type] = append(earlier[b.Type], b.Block)
		if attr := content.Attributes[b.Type]; attr != nil {
			p.problem(b.DefRange, "Duplicate "+b.Type+" block", b.Type+" may be written only once. Another was defined at "+attr.NameRange.String()+".")
		}
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
			if converted := p.convert(value, f.Type, at); converted != nil {
				tree[f.Name] = converted
			}
			return
		}
	}
	for _, setting := range cluster.Unsupported(noun) {
		if setting.HCL == attr.Name {
			if setting.Refuses(freeForm(value)) {
				p.problem(attr.NameRange, "", setting.Refusal())
			}
			return
		}
	}
	p.shortcut(tree, attr, value)
}

// shortcut puts the short form of a constraint (regexp = "x") into the tree as its long form.
func (p *parser) shortcut(tree map[string]any, attr *hcl.Attribute, value cty.Value) {
	text, ok := p.convert(value, reflect.TypeFor[string](), attr.Expr.Range()).(string)
	if !ok {
		return
	}
	switch attr.Name {
	case "set_contains_any", "set_contains_all", "is_set", "is_not_set":
		p.problem(attr.NameRange, "Unsupported argument", fmt.Sprintf("There is no short form of this operator: write operator = %q.", attr.Name))
	case "distinct_property":
		tree["LTarget"], tree["Operand"] = text, attr.Name
	default:
		tree["RTarget"], tree["Operand"] = text, attr.Name
	}
}

// block puts one block into the tree. earlier are those of its type that came before it.
func (p *parser) block(tree map[string]any, noun reflect.Type, b place, path cluster.Path, earlier []*hcl.Block) {
	for _, f := range cluster.Fields(noun) {
		if f.HCL != b.Type || f.Kind == cluster.FieldLabel {
			continue
		}
		if f.Kind == cluster.FieldBlock && f.Type.Kind() == reflect.Slice {
			p.element(tree, f, b, path, len(earlier))
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
		case f.Kind == cluster.FieldBlock:
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			tree[f.Name] = p.noun(b, inner, where)
		default:
			tree[f.Name] = p.mapBlock(b, f.Type, where)
		}
		return
	}
	p.taskOfJob(b)
}

// element appends a repeated block to its list.
func (p *parser) element(tree map[string]any, f cluster.Field, b place, path cluster.Path, index int) {
	inner := f.Type.Elem()
	label := cluster.Label(inner)
	where := path.Index(b.Type, index)
	if label != nil {
		where = path.Label(b.Type, b.Labels[0])
	}
	p.ranges[where] = b.DefRange
	if label != nil {
		p.ranges[where.Field(label.HCL)] = b.DefRange
	}
	element := p.noun(b, inner, where)
	if label != nil {
		element[label.Name] = b.Labels[0]
	}
	list, _ := tree[f.Name].([]any)
	tree[f.Name] = append(list, element)
}

// taskOfJob makes a group of a task that stands directly in the job.
func (p *parser) taskOfJob(b place) {
	name := b.Labels[0]
	group := cluster.Path("").Label("group", name)
	task := group.Label("task", name)
	p.ranges[group], p.ranges[task] = b.DefRange, b.DefRange
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
		if converted := p.convert(value, t.Elem(), attr.Expr.Range()); converted != nil {
			result[attr.Name] = converted
		}
	}
	return result
}
