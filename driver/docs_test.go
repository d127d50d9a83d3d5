package driver_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTheManualHasTheOptions holds the manual's table of `config` against the options in the code of the drivers.
func TestTheManualHasTheOptions(t *testing.T) {
	page, err := os.ReadFile("../docs/job-specification.md")
	if err != nil {
		t.Fatal(err)
	}
	option := regexp.MustCompile("(?m)^\t\\w+ +\\S+ +`config:\"(\\w+)")
	for driver, at := range map[string][3]string{
		"docker":   {"docker/config.go", "type taskConfig struct {", "mounts cpuset_cpus"}, // another spelling, and one without effect
		"raw_exec": {"rawexec/task.go", "type taskConfig struct {", ""},
	} {
		_, row, found := strings.Cut(string(page), "\n| `"+driver+"` | ")
		if !found {
			t.Errorf("the manual has no options of %s", driver)
			continue
		}
		row, _, _ = strings.Cut(row, "\n")
		written := append(strings.Fields(strings.NewReplacer("`", "", ",", "", "|", "").Replace(row)), strings.Fields(at[2])...)
		code, err := os.ReadFile(at[0])
		if err != nil {
			t.Fatal(err)
		}
		_, body, found := strings.Cut(string(code), at[1])
		body, _, _ = strings.Cut(body, "\n}")
		var known []string
		for _, match := range option.FindAllStringSubmatch(body, -1) {
			known = append(known, match[1])
		}
		slices.Sort(written)
		slices.Sort(known)
		if !found || !slices.Equal(written, known) {
			t.Errorf("%s: the manual has\n%v\nthe code\n%v", driver, written, known)
		}
	}
}
