package cluster_test

import (
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
)

func TestCountsKeepWithinTheScalingBlock(t *testing.T) {
	bounded := &cluster.ScalingPolicy{Min: new(int64(2)), Max: new(int64(4))}
	for _, c := range []struct {
		scaling *cluster.ScalingPolicy
		count   int64
		want    string // part of the error, "" for none
	}{
		{nil, 0, ""},
		{nil, 1000, ""},
		{nil, -1, "can't be negative"},
		{bounded, 1, "minimum: 1 < 2"},
		{bounded, 2, ""},
		{bounded, 4, ""},
		{bounded, 5, "maximum: 5 > 4"},
		{&cluster.ScalingPolicy{Max: new(int64(4))}, 0, ""},
	} {
		g := cluster.TaskGroup{Name: "web", Scaling: c.scaling}
		err := g.CheckCount(c.count)
		if c.want == "" && err != nil || c.want != "" && (cluster.CodeOf(err) != cluster.CodeInvalid || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("count %d: %v, want %q", c.count, err, c.want)
		}
	}
}
