package jobspec

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/a43e60e4/cluster"
)

// What a file says in a way that is allowed and surprises is said here; what a job says so is cluster's to warn of.

// warn notes something to tell about a place of a file that is valid.
func (p *parser) warn(at hcl.Range, format string, args ...any) {
	p.warnings = append(p.warnings, &hcl.Diagnostic{Severity: hcl.DiagError, Detail: fmt.Sprintf(format, args...), Subject: &at})
}

// written is the text of a place, "" if it is not known.
func (p *parser) written(at hcl.Range) string {
	text := p.files[at.Filename]
	if at.Start.Byte < 0 || at.End.Byte > len(text) || at.Start.Byte >= at.End.Byte {
		return ""
	}
	return string(text[at.Start.Byte:at.End.Byte])
}

// warnDuration tells what a number without a unit is.
func (p *parser) warnDuration(nanoseconds any, at hcl.Range) {
	if n, ok := nanoseconds.(int64); ok && n != 0 {
		p.warn(at, `%d without a unit is nanoseconds, here %s; write a duration such as "30s"`, n, time.Duration(n))
	}
}

// warnNumber tells of a number that was written as a text.
func (p *parser) warnNumber(value cty.Value, at hcl.Range) {
	if source := p.written(at); value.Type() == cty.String && strings.HasPrefix(source, `"`) && !strings.Contains(source, "${") {
		p.warn(at, "the text %.40s is taken as a number; write it without quotes", source)
	}
}

// warnText tells of a text that was written as a number and looks otherwise as a text, or is octal.
func (p *parser) warnText(value cty.Value, text string, attr *hcl.Attribute) {
	source := p.written(attr.Expr.Range())
	if _, err := strconv.ParseFloat(source, 64); err != nil || value.Type() != cty.Number {
		return
	}
	if source != text || attr.Name == "perms" {
		p.warn(attr.Expr.Range(), "the number %.40s is taken as the text %.40q; write it in quotes", source, text)
	}
}

// warnNulls tells what becomes of a null in a free-form body.
func (p *parser) warnNulls(expr hcl.Expression) {
	switch e := expr.(type) {
	case *hclsyntax.LiteralValueExpr:
		if e.Val.IsNull() {
			p.warn(e.SrcRange, "null counts as not written; remove the argument")
		}
	case *hclsyntax.TupleConsExpr:
		for _, element := range e.Exprs {
			if literal, ok := element.(*hclsyntax.LiteralValueExpr); ok && literal.Val.IsNull() {
				p.warn(literal.SrcRange, "a null in a list stays in it, as an element without a value")
			}
		}
	}
}

// runtimeRoots are the first words of references that a node resolves, besides the variables of a task.
var runtimeRoots = map[string]bool{"attr": true, "node": true, "meta": true, "env": true, "device": true, "secret": true}

// warnReference tells of a name that stands outside of a text and means nothing here.
func (p *parser) warnReference(root, text string, at hcl.Range) {
	if runtimeRoots[root] || strings.HasPrefix(root, "NOMAD_") || strings.HasPrefix(root, "CLUSTER_") {
		return
	}
	meant := fmt.Sprintf("write quotes around it if it is a text, or var.%.40s or local.%.40s if it is a value of this file", root, root)
	p.warn(at, "%.40s is no value here, and is taken as the text %.60q for a node to resolve; %s", root, text, meant)
}

// warnID tells that a job is not called what its label says.
func (p *parser) warnID(tree map[string]any, block *hcl.Block) {
	if id, ok := tree["ID"].(string); ok && id != block.Labels[0] {
		p.warn(p.ranges[cluster.Path("id")], "the job's ID is %.40q, and not the label of its block, %.40q", id, block.Labels[0])
	}
}

// warnTemplate tells of a default that the job has when it is complete.
func (p *parser) warnTemplate(tree map[string]any, noun reflect.Type, path cluster.Path) {
	if noun == reflect.TypeFor[cluster.Template]() && tree["ChangeMode"] == "signal" && tree["ChangeSignal"] == nil {
		p.warn(p.ranges[path.Field("change_mode")], `change_mode = "signal" without change_signal sends SIGHUP`)
	}
}

// identityAlias lets problems of an identity, which are told by its name, be found where it was written.
func (p *parser) identityAlias(f cluster.Field, element map[string]any, block, at cluster.Path) {
	for _, inner := range cluster.Fields(f.Noun()) {
		if !inner.Key {
			continue
		}
		name, _ := element[inner.Name].(string)
		if name == "" || name == cluster.DefaultIdentity {
			p.aliases[block.Field(f.Word())] = at
			continue
		}
		p.aliases[block.Label(f.Word(), name)] = at
	}
}

var (
	taskType  = reflect.TypeFor[cluster.Task]()
	groupType = reflect.TypeFor[cluster.TaskGroup]()
	jobType   = reflect.TypeFor[cluster.Job]()
)

// found is where a place of the job was written. A part of a task may have been written around it, and a policy of a group in the job.
func (p *parser) found(at cluster.Path) (hcl.Range, bool) {
	if where, ok := p.ranges[at]; ok {
		return where, true
	}
	for outer := at; outer != ""; outer = outer.Parent() {
		if alias, ok := p.aliases[outer]; ok {
			where, ok := p.ranges[alias+at[len(outer):]]
			return where, ok
		}
		if strings.HasPrefix(outer.Parent().Last(), "group ") && isPolicy(outer.Last()) {
			if where, ok := p.ranges[cluster.Path(outer.Last())+at[len(outer):]]; ok {
				return where, true
			}
		}
		task := outer.Parent()
		if !strings.HasPrefix(task.Last(), "task ") || !isInherited(outer.Last()) {
			continue
		}
		for _, around := range []cluster.Path{task.Parent(), ""} {
			if where, ok := p.ranges[around.Field(outer.Last())+at[len(outer):]]; ok {
				return where, true
			}
		}
	}
	return hcl.Range{}, false
}

// isPolicy reports whether a step of a path is a block that groups take from the job where they do not write it themselves: both have
// one, and one only.
func isPolicy(step string) bool {
	single := func(noun reflect.Type) bool {
		return slices.ContainsFunc(cluster.Fields(noun), func(f cluster.Field) bool {
			return f.HCL == step && f.Noun() != nil && f.Type.Kind() != reflect.Slice && f.Type.Kind() != reflect.Map
		})
	}
	return single(groupType) && single(jobType)
}

// isInherited reports whether a step of a path is a block that may be written around a task.
func isInherited(step string) bool {
	word, _, _ := strings.Cut(step, " ")
	for _, f := range cluster.Fields(taskType) {
		if f.Inherit && f.HCL == word {
			return true
		}
	}
	return false
}
