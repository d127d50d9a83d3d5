package cluster

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

func (v *validator) spreads(at Path, spreads []Spread) {
	if len(spreads) > 0 && v.job.Type == JobTypeSystem {
		v.check(false, at.Index("spread", 0), "System jobs may not have a spread block; remove it")
		return
	}
	for i, s := range spreads {
		path := at.Index("spread", i)
		v.check(s.Attribute != "", path, `Missing spread attribute; write one such as "${node.datacenter}"`)
		v.check(s.Weight > 0 && s.Weight <= 100, path.Field("weight"), "Spread block must have a positive weight from 0 to 100, have %d", s.Weight)
		seen, sum := map[string]bool{}, 0
		for _, target := range s.SpreadTarget {
			where := path.Label("target", target.Value)
			v.check(!seen[target.Value], where, "Spread target value %s already defined; write it once", quote(target.Value))
			seen[target.Value] = true
			ok := target.Percent >= 0 && target.Percent <= 100
			v.check(ok, where.Field("percent"), "Spread target percentage for value %s must be between 0 and 100, have %d", quote(target.Value), target.Percent)
			if ok {
				sum += target.Percent
			}
		}
		v.check(sum <= 100, path, "Sum of spread target percentages must not be greater than 100%%; got %d%%", sum)
	}
}

// withValue are the operators of constraints and affinities that compare with a value, and withPattern those whose value is compiled.
var (
	withValue   = []string{"=", "==", "is", "!=", "not", "<", "<=", ">", ">=", "set_contains", "set_contains_all", "set_contains_any"}
	withPattern = []string{"regexp", "version", "semver"}
)

// constraints checks the constraints of a job or group (distinct is true), or of a task or device.
func (v *validator) constraints(at Path, constraints []Constraint, distinct bool) {
	for i, c := range constraints {
		path := at.Index("constraint", i)
		switch {
		case c.Operand == "distinct_hosts":
			v.check(distinct, path, "distinct_hosts constraints must be placed on the job or the group, not on a task")
			v.check(c.RTarget == "" || c.RTarget == "true" || c.RTarget == "false", path, "distinct_hosts must be true or false, have %s", quote(c.RTarget))
			continue
		case c.Operand == "is_set" || c.Operand == "is_not_set":
			v.check(c.RTarget == "", path.Field("value"), "Operator %q does not support an RTarget; remove the value", c.Operand)
		case c.Operand == "distinct_property":
			v.distinctProperty(path, c, distinct)
		case !v.comparison(path, c.Operand, c.RTarget):
			v.check(false, path.Field("operator"), "Unknown constraint type %s; write one of = != < <= > >= regexp version semver set_contains is_set is_not_set distinct_hosts", quote(c.Operand))
		}
		v.check(c.LTarget != "", path, "No LTarget provided but is required by constraint; write an attribute")
		v.check(knownTarget(c.LTarget), path.Field("attribute"), "unsupported attribute %s; write ${node.unique.id}, ${node.datacenter}, ${node.unique.name}, ${node.class}, ${node.pool}, ${attr.…} or ${meta.…}", quote(c.LTarget))
	}
}

// comparison checks the value of an operator that compares, and is false for other operators.
func (v *validator) comparison(at Path, operator, value string) bool {
	pattern := slices.Contains(withPattern, operator)
	if !pattern && !slices.Contains(withValue, operator) {
		return false
	}
	v.check(value != "", at, "Operator %q requires an RTarget; write a value", operator)
	if pattern && value != "" && !strings.HasPrefix(value, "${") { // else it is a node's
		v.pattern(at.Field("value"), operator, value)
	}
	return true
}

// affinities checks the affinities of a job, group, task or device.
func (v *validator) affinities(at Path, affinities []Affinity) {
	if len(affinities) > 0 && v.job.Type == JobTypeSystem {
		v.check(false, at.Index("affinity", 0), "System jobs may not have an affinity block; remove it")
		return
	}
	for i, a := range affinities {
		path := at.Index("affinity", i)
		if !v.comparison(path, a.Operand, a.RTarget) {
			v.check(false, path.Field("operator"), "Unknown affinity operator %s; write one of = != < <= > >= regexp version semver set_contains_all set_contains_any", quote(a.Operand))
		}
		v.check(a.LTarget != "", path, "No LTarget provided but is required by affinity; write an attribute")
		v.check(a.Weight != 0, path.Field("weight"), "Affinity weight cannot be zero")
		v.check(a.Weight >= -100 && a.Weight <= 100, path.Field("weight"), "Affinity weight must be within the range [-100,100], have %d", a.Weight)
	}
}

// distinctProperty checks how many instances may share a value: 1 if it is not written.
func (v *validator) distinctProperty(at Path, c Constraint, allowed bool) {
	v.check(allowed, at, "distinct_property constraints must be placed on the job or the group, not on a task")
	if c.RTarget != "" {
		count, err := strconv.ParseUint(c.RTarget, 10, 31)
		v.check(err == nil && count > 0, at.Field("value"), "Failed to convert RTarget %s to a count; write a number above 0", quote(c.RTarget))
	}
}

// pattern compiles a value the way the scheduler will.
func (v *validator) pattern(at Path, operator, value string) {
	if len(value) > maxPattern {
		v.check(false, at, "The value %s… is %d bytes long, the limit is %d", quote(value), len(value), maxPattern)
		return
	}
	_, err := compileTest(operator, value)
	switch operator {
	case "regexp":
		v.check(err == nil, at, "Regular expression failed to compile: %v", errors.Unwrap(err))
	case "version":
		v.check(err == nil, at, `Version constraint is invalid: %s; write one such as ">= 1.2, < 2"`, quote(value))
	case "semver":
		v.check(err == nil, at, `Semver constraint is invalid: %s; write one such as ">= 1.2.0"`, quote(value))
	}
}

func knownTarget(target string) bool {
	if !strings.HasPrefix(target, "$") {
		return true
	}
	switch target {
	case "${node.unique.id}", "${node.datacenter}", "${node.unique.name}", "${node.class}", "${node.pool}":
		return true
	}
	return strings.HasPrefix(target, "${attr.") || strings.HasPrefix(target, "${meta.") || strings.HasPrefix(target, "${device.")
}
