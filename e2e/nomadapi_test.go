package e2e

import (
	"os"
	"os/exec"
	"testing"
)

// TestOfficialClient runs the tests of the module nomadapi, which has the ecosystem's own client, against an agent.
func TestOfficialClient(t *testing.T) {
	t.Parallel()
	w := scratch(t)
	if err := w.launch("one"); err != nil {
		t.Fatal(err)
	}
	if err := w.ready(); err != nil {
		t.Fatal(err)
	}
	address, err := w.address("one")
	if err != nil {
		t.Fatal(err)
	}
	test := exec.Command("go", "test", "-count=1", "-v", ".")
	test.Dir, test.Env = "nomadapi", append(os.Environ(), "CLUSTER_ADDR="+address)
	out, err := test.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
