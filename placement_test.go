package cluster

import "testing"

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
