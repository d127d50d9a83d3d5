//go:build linux

package docker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster/driver/drivertest"
)

// TestFlood lets a task write many times what the engine keeps in one file.
func TestFlood(t *testing.T) {
	const n = 60000 // about 5 MB a stream as the engine writes it
	d := open(t, Config{Options: options(sharedEngine(t)), Dir: t.TempDir()})
	d.engineFile = 4 << 20
	task := probeTask(t, d, "lines", fmt.Sprint(n))
	if err := d.Start(t.Context(), task, nil); err != nil {
		t.Fatal(err)
	}
	if exit, err := d.Wait(t.Context(), task.ID); err != nil || !exit.Successful() {
		t.Fatalf("%+v, %v", exit, err)
	}
	for stream, word := range map[string]string{"stdout": "out", "stderr": "err"} {
		var want strings.Builder
		for i := range n {
			fmt.Fprintf(&want, "%s %08d\n", word, i)
		}
		if got := drivertest.Output(t, task, stream); got != want.String() {
			t.Errorf("%s has %d bytes, want %d", stream, len(got), want.Len())
		}
	}
}
