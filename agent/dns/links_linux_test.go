package dns

import (
	"net/netip"
	"os"
	"os/exec"
	"testing"
)

// TestContainersOfThisMachineAreNear makes a bridge with one end of a pair, as engines do.
func TestContainersOfThisMachineAreNear(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may make a bridge")
	}
	ip := func(args ...string) {
		t.Helper()
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			if os.Getenv("CLUSTER_FORBID_SKIP") == "1" {
				t.Fatalf("ip %v: %v: %s", args, err, out)
			}
			t.Skipf("this machine makes no bridge: ip %v: %s", args, out)
		}
	}
	defer exec.Command("ip", "link", "del", "cluster-near0").Run()
	defer exec.Command("ip", "link", "del", "cluster-near1").Run()
	ip("link", "add", "cluster-near0", "type", "bridge")
	ip("addr", "add", "198.18.77.1/24", "dev", "cluster-near0")
	ip("link", "add", "cluster-near1", "type", "veth", "peer", "name", "cluster-near2")
	ip("link", "set", "cluster-near1", "master", "cluster-near0")
	m := &machine{}
	if !m.near(netip.MustParseAddr("198.18.77.9")) || m.near(netip.MustParseAddr("198.18.78.9")) {
		t.Errorf("networks of containers: %v", m.look().networks)
	}
	kinds := map[string]bool{}
	all, err := links()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		kinds[l.kind] = true
	}
	if !kinds["bridge"] || !kinds["veth"] || !kinds[""] {
		t.Errorf("interfaces: %v", all)
	}
}

func FuzzLinkKind(f *testing.F) {
	f.Add([]byte("\x0b\x00\x01\x00bridge\x00\x00"))
	f.Add([]byte("\x05\x00\x02\x00x\x00\x00\x00\x09\x00\x01\x00veth\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if kind := kindOf(data); len(kind) > len(data) {
			t.Errorf("%q of %q", kind, data)
		}
	})
}
