package jobspec

import (
	"fmt"
	"reflect"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// maxExpanded is how many blocks the dynamic blocks of a file may make.
const maxExpanded = 10_000

var dynamicSchema = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{{Name: "for_each", Required: true}, {Name: "iterator"}, {Name: "labels"}},
	Blocks:     []hcl.BlockHeaderSchema{{Type: "content"}},
}

// expand replaces dynamic blocks by what they stand for. The noun is what the blocks are in; nil is a free-form body.
func (p *parser) expand(blocks hcl.Blocks, scope *hcl.EvalContext, noun reflect.Type) []place {
	var all []place
	for _, b := range blocks {
		if p.expanded > maxExpanded { // that was said already
			break
		}
		if b.Type != "dynamic" || len(b.Labels) != 1 {
			all = append(all, place{b, scope})
			continue
		}
		made := p.dynamic(b, scope)
		if noun != nil && !p.fits(b, made, noun) {
			continue
		}
		all = append(all, made...)
	}
	return all
}

// fits reports whether the blocks that a dynamic block made are allowed, also if it made none, and says so if not.
func (p *parser) fits(dynamic *hcl.Block, made []place, noun reflect.Type) bool {
	blockType := dynamic.Labels[0]
	var names []string
	for _, header := range schema(noun, isNative(dynamic.Body)).Blocks {
		if header.Type != blockType {
			names = append(names, header.Type)
			continue
		}
		for _, b := range made {
			if len(header.LabelNames) != len(b.Labels) {
				p.problem(dynamic.DefRange, "Invalid dynamic block", fmt.Sprintf("The number of labels of a block of type %q is %d and not %d: %s.", blockType, len(header.LabelNames), len(b.Labels), labelsFor(header)))
				return false
			}
		}
		return true
	}
	p.problem(dynamic.DefRange, "Unsupported block type", fmt.Sprintf("Blocks of type %q are not expected here.%s", blockType, hint(blockType, names)))
	return false
}

// labelsFor says what to write so that a dynamic block makes blocks with the labels that they need.
func labelsFor(header hcl.BlockHeaderSchema) string {
	if len(header.LabelNames) == 0 {
		return "remove labels"
	}
	return "write labels = […]"
}

// dynamic makes the blocks of one dynamic block.
func (p *parser) dynamic(b *hcl.Block, scope *hcl.EvalContext) []place {
	content, diags := b.Body.Content(dynamicSchema)
	p.diags = append(p.diags, diags...)
	if diags.HasErrors() {
		return nil
	}
	if len(content.Blocks) != 1 {
		p.problem(b.DefRange, "Invalid dynamic block", `A dynamic block has exactly one "content" block.`)
		return nil
	}
	iterator := b.Labels[0]
	if attr := content.Attributes["iterator"]; attr != nil {
		iterator = hcl.ExprAsKeyword(attr.Expr)
		if iterator == "" {
			p.problem(attr.Expr.Range(), "Invalid iterator", "An iterator is a single name, without quotes.")
			return nil
		}
	}
	each := content.Attributes["for_each"]
	over, ok := p.eval(each.Expr, scope)
	if !ok {
		return nil
	}
	if over.IsNull() || !over.CanIterateElements() {
		p.problem(each.Expr.Range(), "Invalid for_each value", "for_each takes a list, set, map or object; have "+kindOf(over)+".")
		return nil
	}
	var made []place
	for it := over.ElementIterator(); it.Next(); {
		if p.expanded++; p.expanded > maxExpanded {
			p.problem(b.DefRange, "Too many blocks", fmt.Sprintf("The dynamic blocks of a file may make %d blocks.", maxExpanded))
			return nil
		}
		key, value := it.Element()
		inner := scope.NewChild()
		inner.Variables = map[string]cty.Value{iterator: cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})}
		block := &hcl.Block{Type: b.Labels[0], Body: content.Blocks[0].Body, DefRange: b.DefRange, TypeRange: b.LabelRanges[0]}
		if attr := content.Attributes["labels"]; attr != nil {
			if block.Labels, ok = p.labels(attr.Expr, inner); !ok {
				return nil
			}
		}
		made = append(made, place{block, inner})
	}
	return made
}

func (p *parser) labels(expr hcl.Expression, scope *hcl.EvalContext) ([]string, bool) {
	value, ok := p.eval(expr, scope)
	if !ok {
		return nil, false
	}
	list, err := convert.Convert(value, cty.List(cty.String))
	if err != nil || list.IsNull() {
		p.problem(expr.Range(), "Invalid labels", "Labels are a list of strings.")
		return nil, false
	}
	var labels []string
	for _, label := range list.AsValueSlice() {
		if label.IsNull() {
			p.problem(expr.Range(), "Invalid labels", "A label may not be null.")
			return nil, false
		}
		labels = append(labels, label.AsString())
	}
	return labels, true
}
