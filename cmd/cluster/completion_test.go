package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestCompletion(t *testing.T) {
	s := newSession(t)
	s.run("run", "-detach", "testdata/jobs/web.hcl")
	s.world.do("settle")
	for line, want := range map[string]string{
		"jo":                      "job join-token",
		"job st":                  "start status stop",
		"job pl":                  "plan",
		"job plan -json":          "-json -json-output",
		"job status w":            "web",
		"job status -js":          "-json",
		"job status -json w":      "web",
		"-address x job st":       "start status stop",
		"alloc logs 8":            "800005cd 800006cd",
		"alloc logs -tail 800006": "800006cd",
		"node status n":           "n1 n2",
		"node d":                  "drain",
		"node drain -en":          "-enable",
		"node drain -enable n":    "n1 n2",
		"node eligibility -self ": "400001cd 400002cd n1 n2",
		"eval status ":            "500003cd",
		"deployment status ":      "600004cd",
		"service info ":           "web",
		"job run -var-file ":      "",
		"nonsense ":               "",
		"completion ":             "",
		"job -nam":                "-name -namespace",
		"job tag ":                "apply unset",
		"job tag apply w":         "web",
		"job restart w":           "web",
		"job run w":               "",
		"job plan -verbose w":     "",
		"job init w":              "",
		"job dispatch web w":      "",
		"job revert web ":         "",
		"job stop web w":          "web",
		"job sc":                  "scale scaling-events",
		"ver":                     "version",
	} {
		out, status := s.run(append([]string{"__complete", "--"}, strings.Split(line, " ")...)...)
		if got := strings.Join(strings.Fields(out), " "); status != exitDone || got != want {
			t.Errorf("%q completes to %q, want %q (status %d)", line, got, want, status)
		}
	}
	s.env["CLUSTER_ADDR"] = "http://127.0.0.1:1"
	if out, status := s.run("__complete", "--", "job", "status", ""); status != exitDone || out != "" {
		t.Errorf("without an agent: status %d, %q", status, out)
	}
}

// TestCompletionScripts lets each shell that is here read its script; bash must find a command by it.
func TestCompletionScripts(t *testing.T) {
	s := newSession(t)
	for shell, check := range map[string]string{"bash": "-n", "zsh": "-n", "fish": "--no-execute"} {
		script, status := s.run("completion", shell)
		if status != exitDone {
			t.Errorf("%s: status %d", shell, status)
		}
		if _, err := exec.LookPath(shell); err != nil {
			t.Logf("%s is not here: its script was not read", shell)
			continue
		}
		cmd := exec.Command(shell, check)
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s refuses its script: %v\n%s", shell, err, out)
		}
		if shell != "bash" {
			continue
		}
		use := script + `cluster() { printf '%s\n' "$@"; }
COMP_WORDS=(cluster job "st"); COMP_CWORD=2; _cluster; printf '%s|' "${COMPREPLY[@]}"`
		out, err := exec.Command(shell, "-c", use).CombinedOutput()
		if err != nil || string(out) != "__complete|--|job|st|" {
			t.Errorf("bash asked for %s, %v", out, err)
		}
	}
}
