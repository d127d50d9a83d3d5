package jobspec

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
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
