package agent

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDeliverPayload(t *testing.T) {
	outside := t.TempDir()
	dirs := allocDir(filepath.Join(t.TempDir(), "alloc"))
	if err := dirs.make("main", ""); err != nil {
		t.Fatal(err)
	}
	local := dirs.local("main")
	if err := os.Symlink(outside, filepath.Join(local, "out")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"in.json", "deep/er/in.json", "./a/../b"} {
		for _, text := range []string{"first", "again"} {
			if err := dirs.deliver("main", path, "", []byte(text)); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(local, path)); string(got) != text {
				t.Errorf("%s holds %q, want %q: %v", path, got, text, err)
			}
		}
	}
	for _, path := range []string{"", ".", "..", "../x", "out/x", "/etc/x", "deep/../../x"} {
		if err := dirs.deliver("main", path, "", []byte("x")); err == nil {
			t.Errorf("a payload was written to %q", path)
		}
	}
	if left, err := os.ReadDir(outside); len(left) > 0 || err != nil {
		t.Errorf("outside of the task there are %v: %v", left, err)
	}
	// A link that the task left in the payload's place is replaced, not followed.
	target := filepath.Join(outside, "target")
	if err := os.Symlink(target, filepath.Join(local, "linked")); err != nil {
		t.Fatal(err)
	}
	if err := dirs.deliver("main", "linked", "", []byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("the link was followed")
	}
}
