package cluster

import (
	"strings"
	"testing"
)

func placementNode() *Node {
	return &Node{
		ID:         ID{0: 0xab},
		Name:       "n1",
		Datacenter: "dc1",
		NodePool:   "default",
		NodeClass:  "big",
		Attributes: map[string]string{
			"kernel.name": "linux", "kernel.version": "5.15.0-91-generic", "cpu.numcores": "8", "load": "0.5",
			"os.signals": "SIGTERM, SIGINT,SIGHUP", "driver.docker.version": "24.0.7", "app": "2.0.0-beta.2",
			"unique.hostname": "n1", "empty": "",
		},
		Meta: map[string]string{"rack": "r1", "want": "~> 24.0"},
	}
}

func TestConstraintMatches(t *testing.T) {
	node := placementNode()
	for _, row := range []struct {
		left, operand, right string
		want                 bool
	}{
		{"${attr.kernel.name}", "=", "linux", true},
		{"${attr.kernel.name}", "", "linux", true},
		{"${attr.kernel.name}", "==", "windows", false},
		{"${attr.kernel.name}", "is", "linux", true},
		{"${attr.none}", "=", "", false},
		{"${attr.empty}", "=", "", true},
		{"linux", "=", "${attr.kernel.name}", true},
		{"${node.unique.name}", "=", "${attr.unique.hostname}", true},
		{"${node.unique.id}", "=", "ab000000-0000-0000-0000-000000000000", true},
		{"${node.datacenter}", "!=", "dc2", true},
		{"${node.datacenter}", "not", "dc1", false},
		{"${attr.none}", "!=", "x", true},
		{"${node.class}", "=", "big", true},
		{"${node.pool}", "=", "default", true},
		{"${node.region}", "=", "global", false},
		{"${attr.cpu.numcores}", ">=", "8", true},
		{"${attr.cpu.numcores}", "<", "10", true}, // as numbers, not as text
		{"${attr.cpu.numcores}", ">", "8", false},
		{"${attr.load}", "<=", "1", true},
		{"${attr.kernel.name}", "<", "m", true},
		{"${attr.none}", "<", "m", false},
		{"${attr.driver.docker.version}", "version", ">= 20, < 25", true},
		{"${attr.driver.docker.version}", "version", "~> 23.0", false},
		{"${attr.driver.docker.version}", "version", "${meta.want}", true},
		{"${attr.kernel.version}", "version", ">= 4.0", true},
		{"${attr.kernel.version}", "version", "> 5.15.0", false},
		{"${attr.kernel.name}", "version", ">= 1", false},
		{"${attr.app}", "semver", ">= 2.0.0-beta.1, < 2.0.0", true},
		{"${attr.app}", "semver", ">= 2.0.0", false},
		{"${attr.app}", "semver", "!= 2.0.0-beta.2", false},
		{"${attr.app}", "semver", "~> 2.0", false},
		{"${meta.rack}", "regexp", "^r[0-9]+$", true},
		{"${meta.rack}", "regexp", "1", true}, // not anchored
		{"${meta.rack}", "regexp", "(", false},
		{"${attr.os.signals}", "set_contains", "SIGINT,SIGHUP", true},
		{"${attr.os.signals}", "set_contains_all", "SIGINT, SIGUSR1", false},
		{"${attr.os.signals}", "set_contains_any", "SIGINT, SIGUSR1", true},
		{"${attr.os.signals}", "set_contains_any", "SIGUSR2", false},
		{"${attr.empty}", "is_set", "", true},
		{"${attr.none}", "is_set", "", false},
		{"${meta.none}", "is_not_set", "", true},
		{"${meta.rack}", "is_not_set", "", false},
		{"", "distinct_hosts", "true", true},
		{"${meta.rack}", "resembles", "r1", false},
	} {
		c := Constraint{row.left, row.right, row.operand}
		if got := c.Matches(node); got != row.want {
			t.Errorf("%s: %t, want %t", c, got, row.want)
		}
	}
}

func TestConstraintValidate(t *testing.T) {
	for _, row := range []struct{ left, operand, right, err string }{
		{"${attr.kernel.name}", "=", "linux", ""},
		{"${attr.kernel.name}", "", "linux", ""},
		{"${meta.a}", "!=", "", ""},
		{"${meta.a}", "version", ">= 1", ""},
		{"${meta.a}", "version", "${meta.b}", ""},
		{"literal", "=", "literal", ""},
		{"", "distinct_hosts", "", ""},
		{"", "distinct_hosts", "yes", `constraint distinct_hosts: value "yes" is neither true nor false`},
		{"${meta.a}", "is_set", "", ""},
		{"${meta.a}", "is_set", "1", `takes no value`},
		{"${meta.a}", "<", "", `operator "<" needs a value`},
		{"${meta.a}", "regexp", "(", `compile regular expression "("`},
		{"${meta.a}", "version", "new", `read version constraint "new"`},
		{"${meta.a}", "semver", "~> 1.2", `want a list of comparisons`},
		{"${meta.a}", "resembles", "x", `unknown operator "resembles"`},
		{"${meta.a}", "resembles", "${meta.b}", `unknown operator "resembles"`},
		{"", "=", "x", `no attribute is named`},
		{"${node.region}", "=", "global", `unsupported attribute "${node.region}"`},
		{"$x", "=", "global", `unsupported attribute "$x"`},
		{"${attr.x", "=", "global", `unsupported attribute "${attr.x"`},
	} {
		err := Constraint{row.left, row.right, row.operand}.Validate()
		switch {
		case row.err == "" && err != nil:
			t.Errorf("%s %s %s: %v", row.left, row.operand, row.right, err)
		case row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err) || CodeOf(err) != CodeInvalid):
			t.Errorf("%s %s %s: error %v, want …%s…", row.left, row.operand, row.right, err, row.err)
		}
	}
}

func TestSpreadValidate(t *testing.T) {
	for _, row := range []struct {
		spread Spread
		err    string
	}{
		{Spread{"${node.datacenter}", 50, []SpreadTarget{{"dc1", 70}, {"dc2", 30}}}, ""},
		{Spread{"", 50, nil}, "spread: no attribute is named"},
		{Spread{"${node.x}", 50, nil}, "unsupported attribute"},
		{Spread{"${meta.a}", 0, nil}, "weight 0 is not between 1 and 100"},
		{Spread{"${meta.a}", 1, []SpreadTarget{{"x", 70}, {"y", 40}}}, "add up to 110 percent"},
		{Spread{"${meta.a}", 1, []SpreadTarget{{"x", 7}, {"x", 4}}}, `target "x" is given twice`},
		{Spread{"${meta.a}", 1, []SpreadTarget{{"x", -7}}}, `target "x" has -7 percent`},
	} {
		err := row.spread.Validate()
		if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%v: error %v, want …%s…", row.spread, err, row.err)
		}
	}
}

// Nodes of one class differ in nothing that a constraint without `unique.` can ask for.
func TestComputeClass(t *testing.T) {
	class := placementNode().ComputeClass()
	for name, row := range map[string]struct {
		edit func(*Node)
		same bool
	}{
		"nothing":          {func(*Node) {}, true},
		"name":             {func(n *Node) { n.Name = "other" }, true},
		"unique attribute": {func(n *Node) { n.Attributes["unique.hostname"] = "other" }, true},
		"attribute":        {func(n *Node) { n.Attributes["kernel.name"] = "other" }, false},
		"moved text":       {func(n *Node) { n.Meta["rac"] = "kr1"; delete(n.Meta, "rack") }, false},
		"attribute → meta": {func(n *Node) { delete(n.Attributes, "empty"); n.Meta["empty"] = "" }, false},
		"datacenter":       {func(n *Node) { n.Datacenter = "dc2" }, false},
		"pool":             {func(n *Node) { n.NodePool = "gpu" }, false},
		"class":            {func(n *Node) { n.NodeClass = "small" }, false},
	} {
		n := placementNode()
		row.edit(n)
		if (n.ComputeClass() == class) != row.same {
			t.Errorf("changing %s: same class is %t", name, !row.same)
		}
	}
	if !(Constraint{LTarget: "${node.unique.id}"}).Unique() || !(Constraint{RTarget: "${attr.unique.hostname}"}).Unique() ||
		(Constraint{LTarget: "${attr.kernel.name}", RTarget: "linux"}).Unique() {
		t.Error("Unique is wrong")
	}
}
