package jobspec

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// Declared are the names of the variables that a job file declares, in order; of a file that cannot be read there are none.
func Declared(f File) []string {
	names := map[string]bool{}
	content, _ := content(f, rootSchema)
	if content == nil {
		return nil
	}
	for _, b := range content.Blocks.OfType("variable") {
		names[b.Labels[0]] = true
	}
	for _, b := range content.Blocks.OfType("variables") {
		attributes, _ := b.Body.JustAttributes()
		for name := range attributes {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Assigned are the names of the variables that a file of values gives one, in order; of a file that cannot be read there are none.
func Assigned(f File) []string {
	_, rest := content(f, &hcl.BodySchema{})
	if rest == nil {
		return nil
	}
	attributes, _ := rest.JustAttributes()
	return slices.Sorted(maps.Keys(attributes))
}

// content is what of a file's body fits the schema, and the rest; nil if it is no HCL.
func content(f File, schema *hcl.BodySchema) (*hcl.BodyContent, hcl.Body) {
	p := &parser{config: Config{File: f}, files: map[string][]byte{}}
	body := p.parse(f)
	if body == nil {
		return nil, nil
	}
	found, rest, _ := body.PartialContent(schema)
	return found, rest
}

// Values are files of values as one text, which gives each variable what it would have by all of them: later files win. It is written in
// HCL, also what came as JSON; a single file stays as it is. The files are such that Parse takes them.
func Values(files []File) string {
	if len(files) == 1 {
		return strings.TrimRight(string(files[0].Text), "\n") + "\n"
	}
	var texts []string
	taken := map[string]bool{}
	for _, f := range slices.Backward(files) {
		text := values(f, taken)
		texts = append(texts, text)
		for _, name := range Assigned(f) {
			taken[name] = true
		}
	}
	slices.Reverse(texts)
	return strings.Join(texts, "")
}

// values are those of a file that are not taken, in its order.
func values(f File, taken map[string]bool) string {
	_, rest := content(f, &hcl.BodySchema{})
	if rest == nil {
		return ""
	}
	p := &parser{config: Config{File: f}, files: map[string][]byte{}, budget: maxWork}
	p.root = newScope()
	var b strings.Builder
	attributes, _ := rest.JustAttributes()
	for _, attr := range inOrder(attributes) {
		if taken[attr.Name] {
			continue
		}
		if _, native := attr.Expr.(hclsyntax.Expression); native {
			b.WriteString(strings.TrimRight(string(attr.Range.SliceBytes(f.Text)), "\n") + "\n")
		} else if expr, diags := nativeExpression(attr.Expr); !diags.HasErrors() {
			value, ok := p.eval(expr, p.functionScope())
			if !ok {
				continue
			}
			file := hclwrite.NewEmptyFile()
			file.Body().SetAttributeValue(attr.Name, value)
			b.Write(file.Bytes())
		}
	}
	return b.String()
}
