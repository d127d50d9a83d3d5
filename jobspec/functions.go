package jobspec

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	yaml "github.com/zclconf/go-cty-yaml"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// plainFunctions take values and give a value no larger than what they were given, or little more.
var plainFunctions = map[string]function.Function{
	"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc, "max": stdlib.MaxFunc,
	"min": stdlib.MinFunc, "parseint": stdlib.ParseIntFunc, "pow": stdlib.PowFunc, "signum": stdlib.SignumFunc,

	"chomp": stdlib.ChompFunc, "lower": stdlib.LowerFunc, "split": stdlib.SplitFunc, "strlen": stdlib.StrlenFunc,
	"strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc, "title": stdlib.TitleFunc, "trim": stdlib.TrimFunc,
	"trimprefix": stdlib.TrimPrefixFunc, "trimspace": stdlib.TrimSpaceFunc, "trimsuffix": stdlib.TrimSuffixFunc, "upper": stdlib.UpperFunc,

	"chunklist": stdlib.ChunklistFunc, "coalesce": stdlib.CoalesceFunc, "coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc,
	"concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc, "element": stdlib.ElementFunc,
	"flatten": stdlib.FlattenFunc, "index": stdlib.IndexFunc, "keys": stdlib.KeysFunc, "length": stdlib.LengthFunc, "lookup": stdlib.LookupFunc,
	"merge": stdlib.MergeFunc, "range": stdlib.RangeFunc, "reverse": stdlib.ReverseFunc, "setintersection": stdlib.SetIntersectionFunc,
	"setunion": stdlib.SetUnionFunc, "slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,

	"csvdecode": stdlib.CSVDecodeFunc, "jsondecode": checked(stdlib.JSONDecodeFunc, checkJSONDepth), "jsonencode": stdlib.JSONEncodeFunc,
	"base64decode": base64Decode, "base64encode": base64Encode, "urlencode": urlEncode,
	"formatdate": stdlib.FormatDateFunc, "timeadd": stdlib.TimeAddFunc,
	"yamlencode": yaml.YAMLEncodeFunc,
	"md5":        md5Hash, "sha1": sha1Hash, "sha256": sha256Hash, "sha512": sha512Hash, "uuidv5": uuidV5,
	"cidrhost": cidrHost, "cidrnetmask": cidrNetmask, "cidrsubnet": cidrSubnet, "cidrsubnets": cidrSubnets,
}

// multiplying functions give values much larger than what they were given, or take much longer; cost foretells how much.
var multiplying = map[string]struct {
	function.Function
	cost func(args []cty.Value) int
}{
	"distinct":      {stdlib.DistinctFunc, distinctCost},
	"format":        {stdlib.FormatFunc, formatCost},
	"formatlist":    {stdlib.FormatListFunc, formatCost},
	"indent":        {stdlib.IndentFunc, indentCost},
	"join":          {stdlib.JoinFunc, productCost},
	"replace":       {stdlib.ReplaceFunc, productCost},
	"regex_replace": {stdlib.RegexReplaceFunc, regexCost},
	"setproduct":    {stdlib.SetProductFunc, setProductCost},
	"yamldecode":    {checked(yaml.YAMLDecodeFunc, checkYAMLDepth), yamlCost},
}

// newScope is a scope for a whole file, without values yet.
func newScope() *hcl.EvalContext {
	return &hcl.EvalContext{Functions: map[string]function.Function{}}
}

// function reports whether expressions may call a function, and lets those of this file call it. Few files call any, and there
// are many: each is made when it is seen first.
func (p *parser) function(name string) (known bool) {
	if _, made := p.root.Functions[name]; made {
		return true
	}
	f, known := p.newFunction(name)
	if known {
		p.root.Functions[name] = f
	}
	return known
}

func (p *parser) newFunction(name string) (f function.Function, known bool) {
	if f, known := plainFunctions[name]; known {
		return p.metered(f, nil), true
	}
	if f, known := multiplying[name]; known {
		return p.metered(f.Function, f.cost), true
	}
	switch {
	case name == "bcrypt":
		return p.metered(p.bcrypt(), nil), true
	case name == "rsadecrypt":
		return p.metered(p.rsaDecrypt(), nil), true
	case name == "uuidv4":
		return p.uuidV4(), true
	case slices.Contains(fileFunctions, name):
		return p.metered(p.fileFunctions()[name], nil), true
	}
	f, known = lookingFunctions[name]
	return f, known
}

// lookingFunctions look at expressions, not at values: what they evaluate is metered already.
var lookingFunctions = map[string]function.Function{"can": tryfunc.CanFunc, "try": tryfunc.TryFunc, "convert": typeexpr.ConvertFunc}

// functionNames are the names of all functions.
func functionNames() []string {
	names := slices.Concat([]string{"bcrypt", "rsadecrypt", "uuidv4"}, fileFunctions)
	return slices.Concat(names, slices.Collect(maps.Keys(plainFunctions)), slices.Collect(maps.Keys(multiplying)), slices.Collect(maps.Keys(lookingFunctions)))
}

// refusal is a function that takes anything and fails.
func refusal(text string) function.Function {
	return function.New(&function.Spec{
		VarParam: &function.Parameter{Type: cty.DynamicPseudoType, AllowNull: true, AllowDynamicType: true},
		Type:     function.StaticReturnType(cty.String),
		Impl: func([]cty.Value, cty.Type) (cty.Value, error) {
			return cty.NilVal, fmt.Errorf("%s", text)
		},
	})
}

// metered is the function with what it costs beside its arguments paid for: these are metered expressions.
func (p *parser) metered(f function.Function, cost func([]cty.Value) int) function.Function {
	return function.New(&function.Spec{
		Description: f.Description(),
		Params:      f.Params(),
		VarParam:    f.VarParam(),
		Type: func(args []cty.Value) (cty.Type, error) {
			if cost != nil {
				if err := p.spend(cost(args)); err != nil {
					return cty.NilType, err
				}
			}
			kind, err := f.ReturnTypeForValues(args)
			return kind, withoutStack(err)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			result, err := f.Call(args)
			if err != nil {
				return result, withoutStack(err)
			}
			return result, p.charge(result)
		},
	})
}

// withoutStack is the error of a function, in words also if its library gave up: such an error holds a trace of the program.
func withoutStack(err error) error {
	if _, gaveUp := errors.AsType[function.PanicError](err); gaveUp {
		return errors.New("it has no value for these arguments")
	}
	return err
}

// extent is the length of a value's text, or of all the texts in it.
func extent(value cty.Value) int {
	if value.IsNull() || !value.IsKnown() {
		return 1
	}
	if value.Type() == cty.String {
		return len(value.AsString()) + 1
	}
	if !value.CanIterateElements() {
		return 1
	}
	total := 1
	for it := value.ElementIterator(); it.Next(); {
		_, element := it.Element()
		total += extent(element)
	}
	return total
}

// times is a product that does not overflow. The factors are not negative.
func times(a, b int) int {
	if a > 0 && b > math.MaxInt32/a {
		return math.MaxInt32
	}
	return a * b
}

// productCost is the first argument as often as the others are long. Work of this kind is cheap: it counts for an eighth.
func productCost(args []cty.Value) int {
	rest := 0
	for _, arg := range args[1:] {
		rest += extent(arg)
	}
	return times(extent(args[0]), rest) / 8
}

// distinctCost is that of comparing each element with each.
func distinctCost(args []cty.Value) int {
	if !args[0].CanIterateElements() {
		return 0
	}
	return times(args[0].LengthInt(), extent(args[0])) / 8
}

// regexCost counts the steps of the expression that are tried at each place of the text: a{1000} is a thousand.
func regexCost(args []cty.Value) int {
	cost := productCost(args)
	expression, err := syntax.Parse(args[1].AsString(), syntax.Perl)
	if err != nil { // which the function will say
		return cost
	}
	program, err := syntax.Compile(expression.Simplify())
	if err != nil {
		return cost
	}
	return max(cost, times(extent(args[0]), len(program.Inst))/8)
}

var wideVerb = regexp.MustCompile(`%[^a-zA-Z%]*[0-9]{4}`)

// formatCost forbids verbs such as %1000000d.
func formatCost(args []cty.Value) int {
	if text := args[0]; text.Type() == cty.String && wideVerb.MatchString(text.AsString()) {
		return math.MaxInt32
	}
	longest := 1
	for _, arg := range args[1:] {
		if arg.Type().IsTupleType() || arg.Type().IsListType() || arg.Type().IsSetType() {
			longest = max(longest, arg.LengthInt())
		}
	}
	return times(productCost(args), longest)
}

func indentCost(args []cty.Value) int {
	spaces, _ := args[0].AsBigFloat().Float64()
	if spaces > 1000 {
		return math.MaxInt32
	}
	return times(max(int(spaces), 1), extent(args[1]))
}

func setProductCost(args []cty.Value) int {
	product := len(args)
	for _, arg := range args {
		if arg.CanIterateElements() {
			product = times(product, arg.LengthInt())
		}
	}
	return times(product, stepCost)
}
