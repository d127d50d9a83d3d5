package jobspec

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/a43e60e4/cluster"
)

// Format is the text of an HCL file in the usual layout: indentation, signs of assignments below one another, blanks. Any HCL will do,
// also that of no job. The error is like that of Parse.
func Format(f File) ([]byte, error) {
	if err := cluster.CheckJobSize(f.Name, len(f.Text)); err != nil {
		return nil, err
	}
	p := &parser{config: Config{File: f}, files: map[string][]byte{f.Name: f.Text}}
	problem := checkText(f)
	if problem == nil {
		problem = checkNesting(f, hclsyntax.LexConfig)
	}
	if problem != nil {
		p.diags = hcl.Diagnostics{problem}
	} else {
		_, p.diags = hclsyntax.ParseConfig(f.Text, f.Name, hcl.InitialPos)
	}
	if p.diags.HasErrors() {
		return nil, cluster.Errorf(cluster.CodeInvalid, "%w", p.diagnostics(p.diags))
	}
	return hclwrite.Format(f.Text), nil
}
