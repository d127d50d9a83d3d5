package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"syscall"
)

// RemoveGroups removes the control groups that a supervisor of this directory could not remove, as it was killed. Those
// with processes stay.
func RemoveGroups(dir string) {
	sum := sha256.Sum256([]byte(dir))
	name := "cluster-" + hex.EncodeToString(sum[:6])
	for _, pattern := range []string{"/sys/fs/cgroup/*/" + name, "/sys/fs/cgroup/" + name} {
		groups, _ := filepath.Glob(pattern)
		for _, group := range groups {
			tasks, _ := filepath.Glob(filepath.Join(group, "*", "cgroup.procs"))
			for _, file := range tasks {
				_ = syscall.Rmdir(filepath.Dir(file))
			}
			_ = syscall.Rmdir(group)
		}
	}
}
