package cluster

import (
	"cmp"
	"hash/fnv"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-version"
)

// The operators of constraints.
const (
	OperandEqual          = "="  // also "==" and "is"
	OperandNotEqual       = "!=" // also "not"
	OperandVersion        = "version"
	OperandSemver         = "semver"
	OperandRegexp         = "regexp"
	OperandSetContains    = "set_contains"
	OperandSetContainsAll = "set_contains_all"
	OperandSetContainsAny = "set_contains_any"
	OperandIsSet          = "is_set"
	OperandIsNotSet       = "is_not_set"

	// These are about other allocations, not about the node.

	OperandDistinctHosts    = "distinct_hosts"
	OperandDistinctProperty = "distinct_property"
)

// Resolve is the value that one side of a constraint, or the attribute of a spread, has on the node:
// that of `${node.datacenter}`, `${attr.kernel.name}`, `${meta.rack}` and their like, or the text itself when it does
// not begin with "${". It reports false for what the node does not have and for names that do not exist.
func (n *Node) Resolve(target string) (string, bool) {
	name, found := strings.CutPrefix(target, "${")
	if !found {
		return target, true
	}
	name = strings.TrimSuffix(name, "}")
	switch name {
	case "node.unique.id":
		return n.ID.String(), true
	case "node.unique.name":
		return n.Name, true
	case "node.datacenter":
		return n.Datacenter, true
	case "node.class":
		return n.NodeClass, true
	case "node.pool":
		return n.NodePool, true
	}
	if key, found := strings.CutPrefix(name, "attr."); found {
		value, ok := n.Attributes[key]
		return value, ok
	}
	if key, found := strings.CutPrefix(name, "meta."); found {
		value, ok := n.Meta[key]
		return value, ok
	}
	return "", false
}

// Unique reports whether nodes of one computed class may answer the constraint differently.
func (c Constraint) Unique() bool {
	return strings.Contains(c.LTarget, "unique.") || strings.Contains(c.RTarget, "unique.")
}

// Matches reports whether the node meets the constraint. One that no valid job has is met by no node;
// distinct_hosts is met by all, distinct_property by those that have the property.
func (c Constraint) Matches(n *Node) bool { return c.Matcher()(n) }

// Matcher is Matches, made once for many nodes: versions and expressions are compiled beforehand.
// The result may be called concurrently.
func (c Constraint) Matcher() func(*Node) bool {
	operand := canonicalOperand(c.Operand)
	switch operand {
	case OperandDistinctHosts:
		return func(*Node) bool { return true }
	case OperandIsSet, OperandIsNotSet, OperandDistinctProperty:
		return func(n *Node) bool {
			_, ok := n.Resolve(c.LTarget)
			return ok == (operand != OperandIsNotSet)
		}
	case OperandNotEqual:
		return func(n *Node) bool {
			left, lok := n.Resolve(c.LTarget)
			right, rok := n.Resolve(c.RTarget)
			return !lok || !rok || left != right
		}
	}
	if !strings.HasPrefix(c.RTarget, "${") {
		test, err := compileTest(operand, c.RTarget)
		return func(n *Node) bool {
			left, ok := n.Resolve(c.LTarget)
			return ok && err == nil && test(left)
		}
	}
	return func(n *Node) bool {
		left, lok := n.Resolve(c.LTarget)
		right, rok := n.Resolve(c.RTarget)
		if !lok || !rok {
			return false
		}
		test, err := compileTest(operand, right)
		return err == nil && test(left)
	}
}

// canonicalOperand is one of the Operand constants or a comparison; what is unknown stays as it is.
func canonicalOperand(operand string) string {
	switch operand {
	case "", "==", "is":
		return OperandEqual
	case "not":
		return OperandNotEqual
	case OperandSetContains:
		return OperandSetContainsAll
	}
	return operand
}

// compileTest makes the test of a left value against the given right one.
func compileTest(operand, right string) (func(left string) bool, error) {
	switch operand {
	case OperandEqual:
		return func(left string) bool { return left == right }, nil
	case "<", "<=", ">", ">=":
		return func(left string) bool { return holds(operand, compareValues(left, right)) }, nil
	case OperandVersion:
		return compileVersion(right)
	case OperandSemver:
		return compileSemver(right)
	case OperandRegexp:
		expression, err := regexp.Compile(right)
		if err != nil {
			return nil, Errorf(CodeInvalid, "compile regular expression %q: %w", right, err)
		}
		return expression.MatchString, nil
	case OperandSetContainsAll:
		return func(left string) bool {
			has := splitSet(left)
			return !slices.ContainsFunc(splitSet(right), func(item string) bool { return !slices.Contains(has, item) })
		}, nil
	case OperandSetContainsAny:
		return func(left string) bool {
			has := splitSet(left)
			return slices.ContainsFunc(splitSet(right), func(item string) bool { return slices.Contains(has, item) })
		}, nil
	}
	return nil, Errorf(CodeInvalid, "unknown operator %q", operand)
}

func splitSet(text string) []string {
	items := strings.Split(text, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

// compareValues orders two values as whole numbers if both are, else as numbers if both are, else as text.
func compareValues(left, right string) int {
	l, lerr := strconv.ParseInt(left, 10, 64)
	r, rerr := strconv.ParseInt(right, 10, 64)
	if lerr == nil && rerr == nil {
		return cmp.Compare(l, r)
	}
	lf, lerr := strconv.ParseFloat(left, 64)
	rf, rerr := strconv.ParseFloat(right, 64)
	if lerr == nil && rerr == nil {
		return cmp.Compare(lf, rf)
	}
	return strings.Compare(left, right)
}

// holds reports whether a comparison with the given result satisfies the operator.
func holds(operator string, order int) bool {
	switch operator {
	case "", "=", "==":
		return order == 0
	case "!=":
		return order != 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	}
	return false
}

// compileVersion tests versions such as "5.15.0-91-generic" against a list such as ">= 1.2, < 2". What looks like
// a pre-release counts as the release unless the list itself speaks of pre-releases: kernels are numbered like that.
func compileVersion(list string) (func(string) bool, error) {
	wanted, err := version.NewConstraint(list)
	if err != nil {
		return nil, Errorf(CodeInvalid, "read version constraint %q: %w", list, err)
	}
	strict := slices.ContainsFunc(wanted, (*version.Constraint).Prerelease)
	return func(text string) bool {
		v, err := version.NewVersion(text)
		if err != nil {
			return false
		}
		return wanted.Check(v) || !strict && wanted.Check(v.Core())
	}, nil
}

// compileSemver tests semantic versions against a list of comparisons; a pre-release comes before its release.
func compileSemver(list string) (func(string) bool, error) {
	type bound struct {
		operator string
		version  *version.Version
	}
	var bounds []bound
	for part := range strings.SplitSeq(list, ",") {
		part = strings.TrimSpace(part)
		number := strings.TrimLeft(part, "=!<>~")
		operator := strings.TrimSpace(part[:len(part)-len(number)])
		v, err := version.NewSemver(strings.TrimSpace(number))
		if err != nil || !slices.Contains([]string{"", "=", "!=", "<", "<=", ">", ">="}, operator) {
			return nil, Errorf(CodeInvalid, "read semver constraint %q: want a list of comparisons such as \">= 1.2.0, < 2.0.0-beta\"", list)
		}
		bounds = append(bounds, bound{operator, v})
	}
	return func(text string) bool {
		v, err := version.NewSemver(text)
		return err == nil && !slices.ContainsFunc(bounds, func(b bound) bool { return !holds(b.operator, v.Compare(b.version)) })
	}, nil
}

// ComputeClass is a name for the set of nodes that answer every constraint without `unique.` as this one does:
// same datacenter, pool and class, same attributes and metadata but for the unique ones.
func (n *Node) ComputeClass() string {
	hash := fnv.New64a()
	write := func(parts ...string) {
		for _, part := range parts {
			hash.Write([]byte(strconv.Itoa(len(part)) + ":" + part))
		}
	}
	write(n.Datacenter, n.NodePool, n.NodeClass)
	for _, values := range []map[string]string{n.Attributes, n.Meta} {
		for _, key := range slices.Sorted(maps.Keys(values)) {
			if !strings.HasPrefix(key, "unique.") && !strings.Contains(key, ".unique.") {
				write(key, values[key])
			}
		}
		write("")
	}
	return "v1:" + strconv.FormatUint(hash.Sum64(), 16)
}
