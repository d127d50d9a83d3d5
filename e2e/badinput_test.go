package e2e

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const trueJob = `job "a" {
  group "g" {
    task "t" {
      driver = "raw_exec"
      config { command = "/bin/true" }
    }
  }
}
`

// badCommandLines are typed at an agent that works.
var badCommandLines = []mishap{
	{"unknown command", "jbo", "", "", 1, "find command \"jbo\": did you mean `cluster job`? `cluster -h` lists what there is"},
	{"unknown verb", "job rnu", "", "", 1, "find command \"rnu\": did you mean `cluster job run`? `cluster job -h` lists what there is"},
	{"unknown flag", "job run -vra x", "", "", 1, "find flag -vra of `cluster job run`: did you mean -var? `cluster job run -h` lists what there is"},
	{"flag without value", "job run in -var", "", "", 1, "read flag -var of `cluster job run`: it needs a value: -var=VALUE"},
	{"wrong value of a flag", "job run -check-index x in", trueJob, "", 1, `read flag -check-index "x": want a number, the job's modify index`},
	{"wrong variable", "job run -var x in", trueJob, "", 1, `read flag -var "x": want -var NAME=VALUE`},
	{"argument missing", "job run", "", "", 1, "run `cluster job run`: an argument is missing: want `cluster job run FILE|URL|-`"},
	{"argument too many", "node status a b", "", "", 1, "run `cluster node status`: \"b\" is one argument too many: want `cluster node status [ID|NAME]`"},
	{"job that is not there", "job status nope", "", "", 1, `find job "nope": there is none whose ID is or begins with that`},
	{"wrong ID", "alloc status nope", "", "", 1, `find allocation "nope": want an ID or its beginning, digits and the letters a to f`},
	{"ID that is not there", "alloc status 00ff00ff", "", "", 1, `find allocation "00ff00ff": there is none whose ID is or begins with that`},
	{"no agent", "node status -address http://127.0.0.1:1", "", "", 1, "no agent answers at http://127.0.0.1:1: start one with `cluster agent -dev`, or set CLUSTER_ADDR"},
	{"no socket", "node status -address unix://<dir>/no.sock", "", "", 1, "no agent answers at unix://<dir>/no.sock: start one with `cluster agent -dev`, or set CLUSTER_ADDR"},
	{"unknown region", "job status -region mars", "", "", 1, `No path to region "mars": there is one region, "global"`},
	{"unknown namespace", "job run -namespace mars in", trueJob, "", 1, `job "a" is in nonexistent namespace "mars"`},
	{"stale check index", "job run -check-index 7 in", trueJob, "", 1, "Enforcing job modify index 7: job does not exist; `cluster job plan in` shows how it is now"},
}

// badJobFiles are run as jobs.
var badJobFiles = []mishap{
	{"unknown attribute", "job run in", strings.Replace(trueJob, "driver", "comand = \"x\"\n      driver", 1), "", 1,
		"in:4,7-13: Unsupported argument; An argument named \"comand\" is not expected here.\n     4 |       comand = \"x\""},
	{"wrong type", "job run in", strings.Replace(trueJob, "task", "count = \"many\"\n    task", 1), "", 1,
		"in:3,13-19: Unsuitable value type; Unsuitable value: a number is required\n     3 |     count = \"many\""},
	{"driver missing", "job run in", strings.Replace(trueJob, `driver = "raw_exec"`, "", 1), "", 1,
		"in:3,5-13: Missing task driver; write one such as driver = \"docker\"\n     3 |     task \"t\" {"},
	{"unsupported block", "job run in", strings.Replace(trueJob, "driver", "template {\n        data        = \"x\"\n        destination = \"local/x\"\n      }\n      driver", 1), "", 1,
		"in:4,7-15: the \"template\" block is not supported yet: the task's files would be missing\n     4 |       template {"},
	{"unsupported attribute", "job run in", strings.Replace(trueJob, "driver", "leader = true\n      driver", 1), "", 1,
		"in:4,7-<n>: <any>\"leader\"<any>not supported yet<any>"},
	{"lists nested deeply", "job run in", "job \"a\" {\n  meta = " + strings.Repeat("[", 1e5) + "\n}\n", "", 1,
		"in:2,<n>-<n>: Nested too deep; Brackets and blocks may be nested 100 deep.\n     2 | …[<any>"},
	{"blocks nested deeply", "job run in", strings.Repeat("group \"g\" {\n", 1e4), "", 1,
		"in:101,<n>-<n>: Nested too deep; Brackets and blocks may be nested 100 deep.\n   101 | group \"g\" {"},
	{"templates nested deeply", "job run in", "job \"a\" {\n  name = \"" + strings.Repeat(`${"`, 1e4) + "\n", "", 1,
		"in:2,<n>-<n>: Nested too deep; Brackets and blocks may be nested 100 deep.\n     2 | …<any>"},
	{"over 1 MB", "job run in", trueJob + "# " + strings.Repeat("x", 1<<20), "", 1,
		"read in: 1.0 MB is over the limit of 1 MB; fetch large files from the task instead of writing them into the job"},
	{"endless", "job run /dev/zero", "", "", 1,
		"read /dev/zero: 1.0 MB is over the limit of 1 MB; fetch large files from the task instead of writing them into the job"},
	{"name of a million characters", "job run in", strings.Replace(trueJob, `"a"`, `"`+strings.Repeat("n", 1e6)+`"`, 1), "", 1,
		"in:1,1-1000007: The job ID \"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\"… is 1000000 bytes long, the limit is 128\n     1 | job \"nnn<any>"},
	{"two jobs", "job run in", trueJob + strings.Replace(trueJob, `"a"`, `"b"`, 1), "", 1,
		"in:9,1-8: Duplicate job block; Only one block of type \"job\" is allowed. Previous definition was at in:1,1-8.\n     9 | job \"b\" {"},
	{"empty", "job run in", "\n", "", 1, "in:<n>,1-1: Missing job block; A \"job\" block is required: job \"name\" { … }."},
	{"end missing", "job run in", "job \"a\" {\n  group \"g\" {\n", "", 1,
		"in:2,13-14: Unclosed configuration block; There is no closing brace for this block before the end of the file. This may be caused by incorrect brace nesting elsewhere in this file.\n     2 |   group \"g\" {"},
	{"a program", "job run in", "\x7fELF\x02\x01\x01\x00\x00", "", 1,
		"in:1,8-8: Not a text file; A job file is text in UTF-8, and here is a NUL.\n     1 | \uFFFDELF\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"},
	{"another encoding", "job run in", "job \"caf\xe9\" {}", "", 1,
		"in:1,9-9: Not a text file; A job file is text in UTF-8, and here is the byte 0xe9.\n     1 | job \"caf\uFFFD\" {}"},
	{"a variable without value", "job run in", "variable \"x\" {}\n" + strings.Replace(trueJob, `"/bin/true"`, "var.x", 1), "", 1, "in:<any>Unset variable \"x\"<any>"},
	{"missing file", "job run nope.hcl", "", "", 1, "read job file: open nope.hcl: no such file or directory"},
	{"directory", "job run <dir>", "", "", 1, "read job file: read <dir>: is a directory"},
	{"nothing on standard input", "job run -", "", "", 1, "<stdin>:1,1-1: Missing job block; A \"job\" block is required: job \"name\" { … }."},
	{"no JSON", "job run -json -", "", "hello", 1, "parse job as JSON: line 1: invalid character 'h' looking for beginning of value"},
	{"empty JSON", "job run -json -", "", "", 1, "parse job as JSON: it is empty; send one object"},
	{"JSON of wrong types", "job run -json -", "", `{"Job": {"ID": 5}}`, 1, "invalid job: 1 problem:\n * id: want a text, have the number 5"},
	{"deep JSON", "job run -json -", "", `{"Job": {"Meta": ` + strings.Repeat("[", 1e5), 1, "parse job as JSON: line 1: <any>"},
	{"validate says the same", "job validate in", trueJob + "}", "", 1, "in:9,1-2: Argument or block definition required; An argument or block definition is required here.\n     9 | }"},
}

// badTasks end with status 2 and this line among what is printed.
var badTasks = []struct{ name, config, more, says string }{
	{"command that is not there", `command = "/no/such"`, "", `Driver Failure: config of task "t": option "command" names "/no/such": it is not there`},
	{"command that is not in PATH", `command = "nosuchprogram"`, "", `Driver Failure: config of task "t": option "command" names "nosuchprogram": it is neither in the task's local directory nor in PATH (<any>)`},
	{"command that is not executable", `command = "/etc/passwd"`, "", `Driver Failure: config of task "t": option "command" names "/etc/passwd": /etc/passwd is not executable`},
	{"command that is a directory", `command = "/tmp"`, "", `Driver Failure: config of task "t": option "command" names "/tmp": /tmp is a directory`},
	{"script without its interpreter", `command = "<dir>/script"`, "", `Driver Failure: start task "<id>/t/1": run "<dir>/script": the interpreter that its first line names, or the loader that it was linked for, is not on this machine`},
	{"no program", `command = "<dir>/noprogram"`, "", `Driver Failure: start task "<id>/t/1": run "<dir>/noprogram": it is no program for this machine; a script needs a first line such as #!/bin/sh`},
	{"working directory that is not there", "command = \"/bin/true\"\n work_dir = \"/no/dir\"", "", `Driver Failure: config of task "t": option "work_dir" names "/no/dir", which is no directory of this node`},
	{"user that does not exist", `command = "/bin/true"`, `user = "nosuchuser"`, `Driver Failure: start task "<id>/t/1": look up user "nosuchuser": no such user on this machine`},
	{"unknown option", `comand = "/bin/true"`, "", `Driver Failure: config of task "t": option "command" is required; unknown option "comand" (did you mean "command"?)`},
	{"option of the wrong type", "command = \"/bin/true\"\n args = \"x\"", "", `Driver Failure: config of task "t": option "args" must be a list of strings, not the string "x"`},
	{"command that fails", "command = \"/bin/sh\"\n args = [\"-c\", \"exit 7\"]", "", `Terminated: Exit Code: 7`},
}

// TestBadInput gives a working agent what it cannot use. Each row is a mistake of people, with all that they read.
func TestBadInput(t *testing.T) {
	t.Parallel()
	w := scratch(t)
	w.begin(t)
	for _, rows := range [][]mishap{badCommandLines, badJobFiles} {
		for _, m := range rows {
			t.Run(m.name, func(t *testing.T) { w.try(t, m) })
		}
	}
	w.alive(t)
	if out, _, _ := w.feed("", "job", "status"); strings.Contains(out, "service") {
		t.Errorf("something was accepted:\n%s", out)
	}
}

// TestBadTasks runs jobs that cannot work, all at once.
func TestBadTasks(t *testing.T) {
	t.Parallel()
	w := scratch(t)
	w.begin(t)
	for name, text := range map[string]string{"script": "#!/no/such/interpreter\n", "noprogram": "\x00\x01\x02"} {
		w.write(t, name, text)
		if err := os.Chmod(filepath.Join(w.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	type ending struct {
		out, stderr string
		status      int
	}
	endings := make([]ending, len(badTasks))
	var running sync.WaitGroup // not parallel tests, which would wait for others to end
	for i, row := range badTasks {
		text := strings.ReplaceAll(jobFile("batch", row.config, row.more), "<dir>", w.dir)
		text = strings.Replace(text, `job "a"`, fmt.Sprintf(`job "task-%d"`, i), 1)
		text = strings.Replace(text, "    restart", "    reschedule {\n attempts = 0\n unlimited = false\n}\n    restart", 1)
		running.Go(func() {
			e := &endings[i]
			e.out, e.stderr, e.status = w.feed(text, "job", "run", "-")
		})
	}
	running.Wait()
	for i, row := range badTasks {
		t.Run(row.name, func(t *testing.T) {
			e, found := endings[i], false
			for line := range strings.Lines(e.out) {
				found = found || w.matches(strings.TrimSpace(line), "<any>"+row.says)
			}
			if e.status != 2 || !found {
				t.Errorf("it ends with status %d and says\n%s%s\nwant\n%s", e.status, e.out, e.stderr, row.says)
			}
		})
	}
	w.alive(t)
}

// badStarts are agents that must not start. "ok" is a configuration that would work.
var badStarts = []mishap{
	{"no cluster yet", "agent -data-dir new -config ok", "", "", 1, "open data directory <dir>/new: this node belongs to no cluster yet: start the first node with -bootstrap, and others with -join and a token (cluster join-token)"},
	{"unknown flag", "agent -data-dri x", "", "", 1, "find flag -data-dri of `cluster agent`: did you mean -data-dir? `cluster agent -h` lists what there is"},
	{"argument", "agent -dev x", "", "", 1, "run `cluster agent`: \"x\" is one argument too many: want `cluster agent`"},
	{"wrong level", "agent -dev -log-level loud", "", "", 1, `check configuration: log_level is "loud": want DEBUG, INFO, WARN or ERROR`},
	{"wrong metadata", "agent -dev -meta x", "", "", 1, `read flag -meta "x": want -meta KEY=VALUE`},
	{"wrong address", "agent -dev -bind host", "", "", 1, `check configuration: bind_addr is "host": want an IP address such as 192.0.2.7, without a port`},
	{"address of another machine", "agent -dev -config ok -bind 192.0.2.7", "", "", 1, "listen for other nodes on 192.0.2.7:0: this machine does not have that address: choose one of its own with -bind or `addresses { rpc = … }`"},
	{"HTTP port in use", "agent -dev -config ok -config in", "ports {\n  http = <port>\n}", "", 1, "listen for HTTP on 127.0.0.1:<n>: another program has that port: end it, or choose another with `ports { http = … }`"},
	{"RPC port in use", "agent -dev -config ok -config in", "ports {\n  rpc = <port>\n}", "", 1, "listen for other nodes on 127.0.0.1:<n>: another program has that port: end it, or choose another with `ports { rpc = … }`"},
	{"missing configuration", "agent -dev -config nope", "", "", 1, "read configuration: stat nope: no such file or directory"},
	{"unknown key", "agent -dev -config in", "\nbind_adr = \"x\"\n", "", 1, `read configuration: in:2: unknown key "bind_adr": did you mean "bind_addr"?`},
	{"unknown key in a block", "agent -dev -config in", "client {\n  node_clas = \"x\"\n}\n", "", 1, `read configuration: in:2: unknown key "node_clas" in client: did you mean "node_class"?`},
	{"wrong type", "agent -dev -config in", "ports {\n  http = \"a\"\n}\n", "", 1, `read configuration: in:2: ports.http is "a": want a whole number`},
	{"wrong port", "agent -dev -config in", "ports {\n  http = 70000\n}\n", "", 1, `check configuration: ports.http is 70000: want a port between 1 and 65535, or 0 for any free one`},
	{"value for a block", "agent -dev -config in", "ports = 3\n", "", 1, `read configuration: in:1: ports is "3": want a block`},
	{"unknown option of a driver", "agent -dev -config in", "\nplugin \"raw_exec\" {\n  config {\n    enabld = true\n  }\n}\n", "", 1,
		`check configuration: in:<n>: plugin "raw_exec": unknown option "enabld" (did you mean "enabled"?)`},
	{"client alone", "agent -data-dir x -config in", "client {\n  enabled = true\n}\n", "", 1,
		"open data directory <dir>/x: this node belongs to no cluster yet: start the first node with -bootstrap, and others with -join and a token (cluster join-token)"},
	{"quote missing", "agent -dev -config in", "a = \"b", "", 1, "read configuration: in:1: the text that begins here has no closing quote"},
	{"brace missing", "agent -dev -config in", "client {\n", "", 1, "read configuration: in:2: the file ends here: want a name"},
	{"a program as configuration", "agent -dev -config in", "\x7fELF\x02\x01\x01\x00\x00", "", 1, "read configuration: in:1: <any>"},
	{"configuration nested deeply", "agent -dev -config in", strings.Repeat("a {", 1e4), "", 1, "read configuration: in:1: blocks nest deeper than 32"},
	{"configuration too large", "agent -dev -config in", strings.Repeat("#\n", 3<<20), "", 1, "read configuration: in is larger than 4 MB"},
	{"known but not supported", "config validate in", "tls {\n  http = true\n}\nlog_file = \"x\"\n", "", 0,
		"Warning: in:1: tls is not supported yet and has no effect\nWarning: in:4: log_file is not supported yet and has no effect"},
	{"data directory below a file", "agent -bootstrap -config ok -data-dir in/x", "x", "", 1, "make data directory: mkdir <dir>/in: not a directory: choose another with -data-dir"},
	{"data directory that nobody can make", "agent -bootstrap -config ok -data-dir /proc/x", "", "", 1, "make data directory: mkdir /proc/x: no such file or directory: choose another with -data-dir"},
}

// TestBadStarts starts agents that cannot work. What they say is their last word: status 1, no stack, nothing left.
func TestBadStarts(t *testing.T) {
	t.Parallel()
	w := scratch(t)
	w.write(t, "ok", agentConfig)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	for _, m := range badStarts {
		t.Run(m.name, func(t *testing.T) {
			m.file = strings.Replace(m.file, "<port>", port, 1)
			w.try(t, m)
		})
	}
}

// damages are done to the data directory of an agent that was in use.
var damages = []struct {
	name, file string
	damage     func(text []byte) []byte // nil removes the file
	says       string
}{
	{"newer format", "format", overwritten("99\n"), "open data directory <dir>/one: its format is 99 and this program knows <n>: use the newer program that wrote it"},
	{"format damaged", "format", overwritten("garbage"), `open data directory: <dir>/one/format holds "garbage", which is no format: restore it, or choose another with -data-dir`},
	{"node ID damaged", "node-id", overwritten("garbage"), "read node ID: <dir>/one/node-id is damaged: restore it, or remove the directory to begin as a new node"},
	{"log overwritten", "server/raft.db", overwritten("garbage"), "open log <dir>/one/server/raft.db: it has no valid header: restore it from a copy, or move the data directory away to begin anew"},
	{"log cut short", "server/raft.db", func(text []byte) []byte { return text[:30000] },
		"open log <dir>/one/server/raft.db: the file is cut short: it has 30000 of at least <n> bytes: restore it from a copy, or move the data directory away to begin anew"},
	{"log empty", "server/raft.db", overwritten(""), "open log <dir>/one/server/raft.db: it is missing or empty, though this node was in a cluster: restore it from a copy, or move the data directory away to begin anew"},
	{"log missing", "server/raft.db", nil, "open log <dir>/one/server/raft.db: it is missing or empty, though this node was in a cluster: restore it from a copy, or move the data directory away to begin anew"},
	{"log zeroed in the middle", "server/raft.db", func(text []byte) []byte { clear(text[2*os.Getpagesize():]); return text },
		"open log <dir>/one/server/raft.db: page <n> is overwritten: restore it from a copy, or move the data directory away to begin anew"},
	{"certificate damaged", "identity/node.crt", overwritten("garbage"), "read node certificate in <dir>/one/identity: <any>: restore the file from a copy, or move the data directory away to begin anew"},
	{"key damaged", "identity/node.key", overwritten("garbage"), "read node certificate in <dir>/one/identity: <any>: restore the file from a copy, or move the data directory away to begin anew"},
	{"authority damaged", "identity/ca.crt", overwritten("garbage"), "read authority <dir>/one/identity/ca.crt: <any>: restore the file from a copy, or move the data directory away to begin anew"},
}

func overwritten(text string) func([]byte) []byte { return func([]byte) []byte { return []byte(text) } }

// TestDamage damages one file after the other. The agent says which and what to do, whether or not it was told to begin
// a cluster; with the file restored everything is there again.
func TestDamage(t *testing.T) {
	t.Parallel()
	w := damaged(t)
	for _, row := range damages {
		t.Run(row.name, func(t *testing.T) {
			file := filepath.Join(w.dir, "one", row.file)
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if row.damage == nil {
				err = os.Remove(file)
			} else {
				err = os.WriteFile(file, row.damage(append([]byte{}, whole...)), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, flags := range []string{"-bootstrap ", ""} {
				w.try(t, mishap{args: "agent " + flags + "-data-dir one -config .one.hcl", status: 1, says: row.says})
			}
			if err := os.WriteFile(file, whole, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
	w.begin(t)
	if out, stderr, _ := w.feed("", "job", "status", "a"); !strings.Contains(out, "complete") && !strings.Contains(out, "dead") {
		t.Errorf("the job is lost:\n%s%s", out, stderr)
	}
	w.try(t, mishap{args: "agent -bootstrap -data-dir one -config .one.hcl", status: 1,
		says: "start supervisor: another agent, with PID <n>, works in <dir>/one: end it, or choose another data directory"})
}

// TestUnwritable puts the data directory where nothing can be written.
func TestUnwritable(t *testing.T) {
	t.Parallel()
	w := scratch(t)
	w.write(t, "ok", agentConfig)
	full := w.mount(t, "full", "size=16k")
	if _, err := fill(full); err != nil {
		t.Fatal(err)
	}
	w.try(t, mishap{args: "agent -bootstrap -data-dir full/x -config ok", status: 1,
		says: "write data directory: <any>no space left on device: make it writable and give it space, or choose another with -data-dir"})
	readOnly := w.mount(t, "ro", "size=16k")
	if err := syscall.Mount("", readOnly, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	w.try(t, mishap{args: "agent -bootstrap -data-dir ro/x -config ok", status: 1,
		says: "make data directory: mkdir <dir>/ro/x: read-only file system: choose another with -data-dir"})
	w.try(t, mishap{args: "agent -bootstrap -data-dir ro -config ok", status: 1,
		says: "open data directory: chmod <dir>/ro: read-only file system: choose another with -data-dir"})
}

// fill takes all the space that there is, and returns the file that has it.
func fill(dir string) (string, error) {
	file, err := os.Create(filepath.Join(dir, "fill"))
	if err != nil {
		return "", err
	}
	defer file.Close()
	_, _ = io.CopyN(file, zeros{}, 1<<30) // it fails when all is taken
	return file.Name(), nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestFullDisk takes the data directory's space away while a task writes: the task waits, what was accepted stays, and
// everything goes on when there is space.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := scratch(t)
	disk := w.mount(t, "one", "size=8m")
	w.write(t, "one.hcl", "client {\n  disk_total_mb = 2000\n}\n")
	w.begin(t)
	count := strings.Replace(jobFile("service", `command = "/bin/sh"
        args    = ["-c", "i=0; while :; do echo $i; i=$((i+1)); done"]`, "      logs {\n        max_files     = 2\n        max_file_size = 1\n      }\n"),
		`job "a"`, `job "count"`, 1)
	count = strings.Replace(count, "while :; do echo $i;", "while :; do echo $i; sleep 0.002;", 1)
	if out, stderr, status := w.feed(count, "job", "run", "-"); status != 0 {
		t.Fatal(out, stderr)
	}
	filler, err := fill(disk)
	if err != nil {
		t.Fatal(err)
	}
	// The first write that fails may be this one, or one of the cluster's own, after which nobody leads.
	refused := "<any>: <any>no space left on device: make room there and try again; what was accepted is safe"
	accepted := []string{"count"}
	err = w.wait("a refusal", func() bool { // the log's file has some room of its own
		name := fmt.Sprintf("more-%d", len(accepted))
		text := strings.Replace(jobFile("batch", `command = "/bin/true"`, "      meta {\n        x = \""+strings.Repeat("x", 200_000)+"\"\n      }\n"), `job "a"`, `job "`+name+`"`, 1)
		_, stderr, status := w.feed(text, "job", "run", "-detach", "-")
		if status == 0 {
			accepted = append(accepted, name)
			return false
		}
		if !w.matches(strings.TrimSpace(spoken(stderr)), refused) && !strings.Contains(stderr, "No cluster leader") {
			t.Errorf("it says %s", stderr)
		}
		return strings.Contains(stderr, "no space left")
	})
	if err != nil {
		t.Error(err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for _, name := range accepted {
		err := w.wait(name+" to be there", func() bool { _, _, status := w.feed("", "job", "status", name); return status == 0 })
		if err != nil {
			t.Error(err)
		}
	}
	err = w.wait("another job", func() bool {
		_, _, status := w.feed(jobFile("batch", `command = "/bin/true"`, ""), "job", "run", "-")
		return status == 0
	})
	if err != nil {
		t.Error(err)
	}
	out, stderr, _ := w.feed("", "alloc", "logs", "-job", "count", "-tail", "1000")
	if err := sequence(out); err != nil {
		t.Errorf("the task's output: %v %s", err, stderr)
	}
}

// TestBadRequests sends the API what no client of ours would.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	w := scratch(t)
	w.begin(t)
	base, err := w.address("one")
	if err != nil {
		t.Fatal(err)
	}
	if _, stderr, status := w.feed(jobFile("batch", `command = "/bin/true"`, ""), "job", "run", "-"); status != 0 {
		t.Fatal(stderr)
	}
	for _, row := range []struct {
		method, path, header, body string
		status                     int
		says                       string
	}{
		{"PUT", "/v1/jobs", "", "garbage", 400, "read job: invalid character 'g' looking for beginning of value"},
		{"PUT", "/v1/jobs", "", "", 400, "Request body is empty"},
		{"PUT", "/v1/jobs", "", "{}", 400, "Job must be specified"},
		{"PUT", "/v1/jobs", "", `{"Job": 5}`, 400, "parse job as JSON: want an object, have the number 5"},
		{"PUT", "/v1/jobs", "", `{"Job": {"ID": 5}}`, 500, "invalid job: 1 problem:\n * id: want a text, have the number 5"},
		{"PUT", "/v1/jobs", "", `{"Job": {"ID": "` + strings.Repeat("x", 1<<20) + `"}}`, 413, "read job: 1.0 MB is over the limit of 1 MB; fetch large files from the task instead of writing them into the job"},
		{"PUT", "/v1/jobs", "", strings.Repeat(" ", 5<<20), 413, "read job: 5.0 MB is over the limit of 4 MB"},
		{"PUT", "/v1/jobs", "", `{"Job": ` + strings.Repeat("[", 1e5) + strings.Repeat("]", 1e5) + "}", 400, "read job: <any>exceeded max depth"},
		{"PUT", "/v1/jobs?region=mars", "", `{"Job": {"ID": "a"}}`, 500, `No path to region "mars": there is one region, "global"`},
		{"GET", "/v1/jobs?namespace=mars", "", "", 500, `nonexistent namespace "mars": create it first, or choose another with -namespace`},
		{"GET", "/v1/jobs?index=x", "", "", 400, "Invalid index"},
		{"GET", "/v1/jobs?index=-1", "", "", 400, "Invalid index"},
		{"GET", "/v1/jobs?index=1&wait=x", "", "", 400, "Invalid wait time"},
		{"GET", "/v1/jobs?index=1&wait=-5s", "", "", 400, "Invalid wait time"},
		{"GET", "/v1/jobs?per_page=x", "", "", 400, `Invalid per_page: want a number, have "x"`},
		{"GET", "/v1/jobs?next_token=%00", "", "", 400, `read next_token "\x00": pass on the X-Nomad-NextToken of the page before`},
		{"GET", "/v1/jobs?filter=((", "", "", 400, "failed to read filter expression: <any>"},
		{"GET", "/v1/jobs?stale=x", "", "", 400, "Expect `true` or `false` for \"stale\" query string parameter, got \"x\""},
		{"DELETE", "/v1/jobs", "", "", 405, "Invalid method"},
		{"GET", "/v1/job/nope", "", "", 404, "job not found"},
		{"GET", "/v1/allocation/nope", "", "", 404, "alloc not found"},
		{"GET", "/v1/client/fs/cat/nope?path=../../../etc/passwd", "", "", 404, `Unknown allocation "nope"`},
		{"GET", "/v1/jobs", "Host: evil.example", "", 403, `refuse host "evil.example": this address answers to localhost and 127.0.0.1 alone, without TLS`},
		{"GET", "/v1/jobs", "Origin: http://evil.example", "", 403, `refuse origin "http://evil.example": pages of other sites may not use this API`},
		{"PUT", "/v1/jobs", "Origin: null", "{}", 403, `refuse origin "null": pages of other sites may not use this API`},
	} {
		t.Run(row.method+" "+clip(row.path+" "+row.header+" "+row.body, 60), func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), row.method, base+row.path, strings.NewReader(row.body))
			if err != nil {
				t.Fatal(err)
			}
			if name, value, ok := strings.Cut(row.header, ": "); ok && name == "Host" {
				request.Host = value
			} else if ok {
				request.Header.Set(name, value)
			}
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			text, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != row.status || !w.matches(strings.TrimSpace(string(text)), row.says) {
				t.Errorf("the answer is %d %s\nwant %d %s", answer.StatusCode, text, row.status, row.says)
			}
		})
	}
	w.alive(t)
}

func clip(text string, most int) string { return text[:min(len(text), most)] }

// TestGarbageOnPorts sends to every port what no protocol of ours is. The agent goes on, and answers at once.
func TestGarbageOnPorts(t *testing.T) {
	t.Parallel()
	w := scratch(t)
	w.begin(t)
	base, err := w.address("one")
	if err != nil {
		t.Fatal(err)
	}
	out, stderr, _ := w.feed("", "server", "members", "-json")
	var list struct{ Members []struct{ Port int } }
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Members) != 1 {
		t.Fatalf("%v: %s%s", err, out, stderr)
	}
	noise := make([]byte, 10_000)
	rand.Read(noise)
	const beginning = "PUT /v1/jobs HTTP/1.1\r\nHost: localhost\r\n"
	for _, port := range []struct{ network, address string }{
		{"tcp", strings.TrimPrefix(base, "http://")}, {"unix", w.socket("one")}, {"tcp", fmt.Sprintf("127.0.0.1:%d", list.Members[0].Port)},
	} {
		http := port.network == "unix" || port.address == strings.TrimPrefix(base, "http://")
		for _, row := range []struct{ name, text, says string }{
			{"noise", string(noise) + "\r\n\r\n", "HTTP/1.1 400 Bad Request<any>"},
			{"half of a TLS handshake", "\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03 half", ""},
			{"huge header", beginning + "X: " + strings.Repeat("a", 2<<20) + "\r\n\r\n", "HTTP/1.1 431 Request Header Fields Too Large<any>"},
			{"no host", "GET /v1/jobs HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request: missing required Host header<any>"},
			{"negative length", beginning + "Content-Length: -5\r\n\r\n", "HTTP/1.1 400 Bad Request<any>"},
			{"wrong chunks", beginning + "Transfer-Encoding: chunked\r\n\r\nZZZ\r\n", "HTTP/1.1 400 Bad Request<any>"},
			{"another protocol", "SSH-2.0-OpenSSH_9.6\r\n\r\n", "HTTP/1.1 400 Bad Request<any>"},
			{"a body that never comes", beginning + "Content-Length: 1000\r\n\r\n{", ""},
			{"a header that never ends", beginning + "X: ", ""},
		} {
			t.Run(port.network+" "+row.name, func(t *testing.T) {
				answer, err := exchange(port.network, port.address, row.text)
				if err != nil {
					t.Fatal(err)
				}
				// A connection that is reset while it is still written to loses the answer.
				if http && row.name != "huge header" && !w.matches(answer, row.says) {
					t.Errorf("the answer is %q", answer)
				}
				if !http && strings.HasPrefix(answer, "HTTP") {
					t.Errorf("the port for nodes answers %q without a certificate", answer)
				}
			})
		}
		var slow []net.Conn // many that begin and never end
		for range 200 {
			conn, err := net.DialTimeout(port.network, port.address, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			slow = append(slow, conn)
			_, _ = io.WriteString(conn, "GET / HT") // it may be refused
		}
		w.alive(t)
		for _, conn := range slow {
			conn.Close()
		}
	}
	w.alive(t)
}

// dockerJob needs an engine.
const dockerJob = `job "web" {
  type = "batch"
  group "g" {
    task "t" {
      driver = "docker"
      config {
        image = "nope.example/nope:1"
      }
    }
  }
}
`

// TestBadEngines gives the node engines that hang, speak nonsense or are not there. The agent starts, runs other work,
// and says of the engine what is wrong.
func TestBadEngines(t *testing.T) {
	t.Parallel()
	released := make(chan struct{})
	t.Cleanup(func() { close(released) }) // when the parallel tests have ended
	for _, row := range []struct {
		name   string
		answer http.HandlerFunc // nil: there is no engine
		says   string
	}{
		{"hangs", func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-released:
			}
		}, "the Docker engine is away: unix://<dir>/docker.sock did not answer within <n>s; see whether dockerd hangs"},
		{"speaks nonsense", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>hello") }, "Error reading remote info: invalid character '<' looking for beginning of value"},
		{"fails", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "out of order", 500) }, "Error response from daemon: out of order"},
		{"is away", nil, "the Docker engine is away: there is none at unix://<dir>/docker.sock; is Docker installed, and dockerd running?"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := scratch(t)
			e := &engine{path: filepath.Join(w.dir, "docker.sock")}
			if row.answer != nil {
				e = newEngine(t, w, row.answer)
			}
			w.write(t, "one.hcl", e.use())
			w.begin(t)
			if _, stderr, status := w.feed(jobFile("batch", `command = "/bin/true"`, ""), "job", "run", "-"); status != 0 {
				t.Errorf("other work does not run: %s", stderr)
			}
			out, stderr, status := w.feed(dockerJob, "job", "run", "-")
			if status != 2 || !strings.Contains(out, `Constraint "missing drivers": 1 node excluded by filter`) {
				t.Errorf("it ends with status %d and says\n%s%s", status, out, stderr)
			}
			said := ""
			err := w.wait("a word about the engine", func() bool {
				nodes, _, _ := w.feed("", "operator", "api", "/v1/nodes")
				var list []struct {
					Drivers map[string]struct{ HealthDescription string }
				}
				if json.Unmarshal([]byte(nodes), &list) != nil || len(list) != 1 {
					return false
				}
				said = list[0].Drivers["docker"].HealthDescription
				return said != "" && w.matches(said, row.says)
			})
			if err != nil {
				t.Errorf("%v; the node says %q", err, said)
			}
			w.alive(t)
		})
	}
}

// TestMissingImage runs an image that no registry has, on an engine that vanishes after that.
func TestMissingImage(t *testing.T) {
	t.Parallel()
	w := scratch(t)
	e := newEngine(t, w, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.44")
		w.Header().Set("Content-Type", "application/json")
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/containers/json"):
			fmt.Fprint(w, "[]")
		case strings.HasSuffix(path, "/images/create"):
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message": "manifest for nope.example/nope:1 not found"}`)
		case strings.Contains(path, "/images/"), strings.Contains(path, "/containers/"):
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message": "no such thing"}`)
		case strings.HasSuffix(path, "/info"):
			fmt.Fprint(w, `{"OSType": "linux", "ServerVersion": "28.0.0"}`)
		default:
			fmt.Fprint(w, "{}")
		}
	})
	w.write(t, "one.hcl", e.use())
	w.begin(t)
	says := `Driver Failure: start task "t": pull image "nope.example/nope:1": registry nope.example has no such image or tag for this machine: correct option "image" or push it: Error response from daemon: manifest for nope.example/nope:1 not found<any>`
	out, stderr, status := w.feed(strings.Replace(dockerJob, "    task", "    reschedule {\n      attempts  = 0\n      unlimited = false\n    }\n    restart {\n      attempts = 0\n      mode     = \"fail\"\n    }\n    task", 1), "job", "run", "-")
	if status != 2 || !w.matches(out, "<any>"+says) {
		t.Errorf("it ends with status %d and says\n%s%s\nwant\n%s", status, out, stderr, says)
	}
	e.server.Close()
	os.Remove(e.path)
	away := func() bool {
		out, _, _ := w.feed("", "operator", "api", "/v1/nodes")
		return strings.Contains(out, "the Docker engine is away: there is none at unix://"+e.path)
	}
	const word = "the node to say that its engine is away" // it looks every half minute
	if w.wait(word, away) != nil {
		if err := w.wait(word, away); err != nil {
			t.Error(err)
		}
	}
	w.alive(t)
}
