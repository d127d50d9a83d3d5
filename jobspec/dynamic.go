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
		if noun != nil && len(made) > 0 && !p.known(made[0].Block, noun) {
			continue
		}
		all = append(all, made...)
	}
	return all
}

// known reports whether blocks of a dynamic block's type are allowed, and says so if not.
func (p *parser) known(b *hcl.Block, noun reflect.Type) bool {
	var names []string
	for _, header := range schema(noun, isNative(b.Body)).Blocks {
		if header.Type == b.Type {
			if len(header.LabelNames) != len(b.Labels) {
				p.problem(b.DefRange, "Invalid dynamic block", fmt.Sprintf("Blocks of type %q need %d labels: write labels = […].", b.Type, len(header.LabelNames)))
				return false
			}
			return true
		}
		names = append(names, header.Type)
	}
	p.problem(b.DefRange, "Unsupported block type", fmt.Sprintf("Blocks of type %q are not expected here.%s", b.Type, hint(b.Type, names)))
	return false
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
