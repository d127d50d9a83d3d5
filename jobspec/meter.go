package jobspec

import (
	"errors"
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// A job file of a few lines can ask for more work and memory than any machine has: nested for expressions,
// strings that double, a dynamic block over a product of lists. Three things keep it small: how deep and how long the
// syntax may be, a budget for all values that expressions of one file make, and a bound on dynamic blocks.
const (
	maxWork     = 8 << 20 // bytes of text that the expressions of a file may make
	stepCost    = 16      // of a value and of each of its elements, beside their text: what it takes to make and to walk over them
	maxExponent = 1100    // of a number, in bits: a little more than a float64 holds
)

var errTooMuch = fmt.Errorf("the expressions of this file make more than %d MB of values; make lists and texts smaller", maxWork>>20)

// metered is an expression whose every value is paid for.
type metered struct {
	hclsyntax.Expression
	parser *parser
}

func (r *resolver) meter(e hclsyntax.Expression) hclsyntax.Expression {
	switch e.(type) {
	case *metered, *hclsyntax.LiteralValueExpr:
		return e
	}
	return &metered{e, r.parser}
}

// Value implements hcl.Expression.
func (m *metered) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	value, diags := m.Expression.Value(ctx)
	if diags.HasErrors() {
		return value, diags
	}
	if err := m.parser.charge(value); err != nil {
		return cty.DynamicVal, append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Expression too large",
			Detail: err.Error(), Subject: m.Range().Ptr()})
	}
	return value, diags
}

// charge takes the cost of a value from the budget. It walks no further than the budget reaches: values share their
// parts, so that a small one may unfold into a huge one.
func (p *parser) charge(value cty.Value) error { return p.chargeAt(value, 0) }

func (p *parser) chargeAt(value cty.Value, depth int) error {
	if err := p.spend(stepCost); err != nil {
		return err
	}
	if value.IsMarked() || value.IsNull() || !value.IsKnown() {
		return nil
	}
	switch {
	case value.Type() == cty.String:
		return p.spend(len(value.AsString()))
	case value.Type() == cty.Number:
		return checkNumber(value)
	case value.CanIterateElements():
		if depth == maxNesting {
			return errTooDeep
		}
		if value.Type().IsTupleType() { // whoever makes a list of it compares the type of each element with that of each
			if err := p.spend(times(value.LengthInt(), value.LengthInt()) / 16); err != nil {
				return err
			}
		}
		for it := value.ElementIterator(); it.Next(); {
			_, element := it.Element()
			if err := p.chargeAt(element, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *parser) spend(cost int) error {
	if cost > p.budget {
		p.budget = -1
		return errTooMuch
	}
	p.budget -= cost
	return nil
}

// checkNumber refuses numbers that take megabytes to write down.
func checkNumber(value cty.Value) error {
	if value == cty.NilVal || value.IsNull() || !value.IsKnown() || value.Type() != cty.Number {
		return nil
	}
	number := value.AsBigFloat()
	if exponent := number.MantExp(nil); number.IsInf() || exponent > maxExponent || exponent < -maxExponent {
		return errors.New("write a number between -1e308 and 1e308")
	}
	return nil
}
