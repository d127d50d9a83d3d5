//go:build linux

package rawexec_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/driver/drivertest"
	"github.com/a43e60e4/cluster/driver/rawexec"
)

func TestDeniedUsers(t *testing.T) {
	self := fmt.Sprint(os.Geteuid())
	for _, test := range []struct{ user, uids, gids, want string }{
		{"", "", "", ""},
		{"nobody", "0", "0", ""},
		{"4000000000", "0-3999999999,4000000001", "1", ""},
		{"root", "0", "", `start task "web": user "root" has the number 0, which this node's plugin "raw_exec" denies (denied_host_uids): give the task another`},
		{"0", "5, 0-3", "", `user "0" has the number 0`},
		{"", self, "", "the agent's own user has the number " + self},
		{"root", "7", "0", `user "root" is in the group 0, which this node's plugin "raw_exec" denies (denied_host_gids)`},
		{"nobody:root", "7", "0-1", `user "nobody:root" is in the group 0`},
		{"root:65534", "7", "0", `is in the group 0`}, // still beside the one it begins with
		{"12345", "", "12345", `is in the group 12345`},
		{"no-such-user", "0", "", `look up user "no-such-user": no such user on this machine`},
		{"root:no-such-group", "7", "", `look up group "no-such-group": no such group on this machine`},
	} {
		task := drivertest.Task(t, "web")
		task.User = test.user
		task.Config = map[string]any{"command": executable(t, filepath.Join(task.LocalDir, "run"))}
		var r recorder
		d := rawexec.New(rawexec.Config{Processes: &r, Options: rawexec.Options{Enabled: true, DeniedUIDs: test.uids, DeniedGIDs: test.gids}})
		err := d.Start(t.Context(), task, nil)
		if started := r.started.ID != ""; started != (test.want == "") {
			t.Errorf("%+v: started %v", test, started)
		}
		if test.want != "" && (!errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

func TestDeniedOptions(t *testing.T) {
	for value, want := range map[string]string{
		"x":     `option "denied_host_uids" must be numbers and ranges like "0,10-20": "x" is none`,
		"1,":    `"" is none`,
		"20-10": `"20-10" is none`,
		"-1":    `"-1" is none`,
		"1-2-3": `"1-2-3" is none`,
	} {
		if _, _, err := rawexec.DecodeOptions(map[string]any{"denied_host_uids": value}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", value, err)
		}
	}
	o, ignored, err := rawexec.DecodeOptions(map[string]any{"enabled": true, "denied_host_gids": " 0 , 10 - 20 "})
	if err != nil || len(ignored) != 0 || !o.Enabled {
		t.Errorf("%+v, %q, %v", o, ignored, err)
	}
}

// TestSecretsStay starts tasks that cannot work and looks for their secrets in the errors.
func TestSecretsStay(t *testing.T) {
	const secret = "s3cr3t-77"
	for _, config := range []map[string]any{
		{}, {"command": "missing"}, {"command": "/bin/true", "work_dir": "relative"}, {"command": "/bin/true", "oom_score_adj": 5000.0},
		{"command": "/bin/true", "denied_envvars": 7.0},
	} {
		task := drivertest.Task(t, "web")
		task.Config, task.User = config, "root"
		task.Env["DB_PASSWORD"] = secret
		d := rawexec.New(rawexec.Config{Processes: &recorder{}, Environ: []string{"TOKEN=" + secret},
			Options: rawexec.Options{Enabled: true, DeniedUIDs: "0"}})
		if err := d.Start(t.Context(), task, nil); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%v: %v", config, err)
		}
	}
}
