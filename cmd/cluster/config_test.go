package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var testMachine = machine{hostname: "box", dataHome: "/home/u/.local/share/cluster"}

func parsed(t testing.TB, texts ...string) (AgentConfig, []Warning, error) {
	t.Helper()
	c := defaultAgentConfig(false, testMachine)
	d := &configDecoder{}
	for i, text := range texts {
		if err := c.decode(d, string(rune('a'+i))+".hcl", []byte(text)); err != nil {
			return c, d.warnings, err
		}
	}
	return c, d.warnings, c.finish()
}

func TestConfigDefaults(t *testing.T) {
	c, warnings, err := parsed(t)
	if err != nil || warnings != nil {
		t.Fatal(err, warnings)
	}
	if c.DataDir != testMachine.dataHome || !c.Server.Enabled.On() || !c.Client.Enabled.On() || c.Bootstrap {
		t.Errorf("%+v", c)
	}
	if got := c.HTTPAddresses(); !slices.Equal(got, []string{"127.0.0.1:4646"}) {
		t.Errorf("HTTP listens on %v", got)
	}
	if c.RPCAddress() != "0.0.0.0:4647" || c.SerfAddress() != "0.0.0.0:4648" {
		t.Error(c.RPCAddress(), c.SerfAddress())
	}
	if dev := defaultAgentConfig(true, testMachine); dev.DataDir != "" || dev.Bind != "127.0.0.1" || dev.Plugins.RawExec.Config["enabled"] != true {
		t.Errorf("%+v", dev)
	}
	if root := defaultAgentConfig(false, machine{root: true, dataHome: "/root/x"}); root.DataDir != "/var/lib/cluster" {
		t.Error(root.DataDir)
	}
}

// Everything that is read, in the syntaxes that files have.
func TestConfigSyntax(t *testing.T) {
	const blocks = `
# comments of // all kinds
data_dir = "/srv/x"   // here
bind_addr = "127.0.0.2" /* and
there */
datacenter = "dc2"
name = "n-1"
log_level = "debug"
log_json = true
ports { http = 1 rpc = 2 serf = 3 }
addresses { rpc = "192.0.2.1" }
advertise { rpc = "10.0.0.1:5000", serf = "host.example" }
server { enabled = true  bootstrap_expect = 1 }
client {
  enabled = true
  node_class = "big"
  node_pool = "p"
  meta { rack = "r1" "quoted.key" = 7 }
  reserved { cpu = 500 memory = 256 disk = 1024 reserved_ports = "22,80-90" }
  min_dynamic_port = 30000
  max_dynamic_port = 30100
  max_kill_timeout = "1m"
  gc_interval = "2m"
  gc_disk_usage_threshold = 90.5
  cpu_total_compute = "4000"
}
client { meta { zone = "z" } }
plugin "raw_exec" { config { enabled = true } }
plugin "docker" { config { volumes { enabled = true } allow_privileged = false extra_labels = ["*"] gc { image = false } pids_limit = -1 } }
plugin "docker" { config { volumes { selinuxlabel = "z" } } }
telemetry { prometheus_metrics = true }
disable_update_check = true
`
	const text = `{"data_dir": "/srv/x", "bind_addr": "127.0.0.2", "datacenter": "dc2", "name": "n-1", "log_level": "debug", "log_json": true,
"ports": {"http": 1, "rpc": 2, "serf": 3}, "addresses": [{"rpc": "192.0.2.1"}],
"advertise": {"rpc": "10.0.0.1:5000", "serf": "host.example"}, "server": {"enabled": true, "bootstrap_expect": 1},
"client": [{"enabled": true, "node_class": "big", "node_pool": "p", "meta": {"rack": "r1", "quoted.key": "7"},
 "reserved": {"cpu": 500, "memory": 256, "disk": 1024, "reserved_ports": "22,80-90"}, "min_dynamic_port": 30000, "max_dynamic_port": 30100,
 "max_kill_timeout": 60000000000, "gc_interval": "2m", "gc_disk_usage_threshold": 90.5, "cpu_total_compute": 4000},
 {"meta": {"zone": "z"}, "node_class": null}],
"plugin": [{"raw_exec": [{"config": [{"enabled": true}]}]},
 {"docker": {"config": {"volumes": {"enabled": true, "selinuxlabel": "z"}, "allow_privileged": false, "extra_labels": ["*"], "gc": {"image": false}, "pids_limit": -1}}}],
"telemetry": {"prometheus_metrics": true}, "disable_update_check": true}`
	want, warnings, err := parsed(t, blocks)
	if err != nil || warnings != nil {
		t.Fatal(err, warnings)
	}
	got, warnings, err := parsed(t, text)
	if err != nil || warnings != nil {
		t.Fatal(err, warnings)
	}
	for _, c := range []*AgentConfig{&got, &want} { // lines differ
		c.Plugins.RawExec.at, c.Plugins.Docker.at = place{}, place{}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("JSON gives\n%+v\nHCL gives\n%+v", got, want)
	}
	docker := map[string]any{"volumes": map[string]any{"enabled": true, "selinuxlabel": "z"}, "allow_privileged": false,
		"extra_labels": []any{"*"}, "gc": map[string]any{"image": false}, "pids_limit": int64(-1)}
	if !reflect.DeepEqual(want.Plugins.Docker.Config, docker) {
		t.Errorf("docker is told %v", want.Plugins.Docker.Config)
	}
	c := want.Client
	if !maps.Equal(c.Meta, map[string]string{"rack": "r1", "quoted.key": "7", "zone": "z"}) || c.MaxKillTimeout != time.Minute ||
		c.Reserved != (ReservedConfig{CPU: 500, MemoryMB: 256, DiskMB: 1024, ReservedPorts: "22,80-90"}) || c.CPUTotalCompute != 4000 || !want.Bootstrap {
		t.Errorf("%+v", want)
	}
	if !slices.Equal(want.HTTPAddresses(), []string{"127.0.0.2:1"}) || want.RPCAddress() != "192.0.2.1:2" || want.Level().String() != "DEBUG" {
		t.Error(want.HTTPAddresses(), want.RPCAddress(), want.Level())
	}
}

func TestConfigLaterWins(t *testing.T) {
	c, _, err := parsed(t, "datacenter = \"a\"\nclient { meta { a = \"1\" b = \"1\" } }", "client { meta { b = \"2\" } }\ndatacenter = \"b\"")
	if err != nil || c.Datacenter != "b" || !maps.Equal(c.Client.Meta, map[string]string{"a": "1", "b": "2"}) {
		t.Errorf("%+v %v", c, err)
	}
	for text, want := range map[string][2]bool{
		"":                             {true, true},
		"server { enabled = true }":    {true, false},
		"client { enabled = true }":    {false, true},
		"server { bootstrap_expect=1}": {true, true},
		"server { enabled = true }\nclient { enabled = true }": {true, true},
	} {
		if c, _, err := parsed(t, text); err != nil || c.Server.Enabled.On() != want[0] || c.Client.Enabled.On() != want[1] {
			t.Errorf("%q: server %t, client %t, %v", text, c.Server.Enabled.On(), c.Client.Enabled.On(), err)
		}
	}
}

func TestConfigText(t *testing.T) {
	for text, want := range map[string]string{
		`name = "a\tb\"c\\d\u00e9\/"`:           "a\tb\"c\\dé/",
		`name = "${node.x} {{ y }}"`:            "${node.x} {{ y }}",
		"name = <<EOF\n one\n two\nEOF\n":       " one\n two\n",
		"name = <<-EOF\n  one\n   two\n  EOF\n": "one\n two\n",
	} {
		var c AgentConfig
		if err := c.decode(&configDecoder{}, "x.hcl", []byte(text)); err != nil || c.Name != want {
			t.Errorf("%s is %q, %v, want %q", text, c.Name, err, want)
		}
	}
}

// TestConfigProblems has every message that a configuration can meet with.
func TestConfigProblems(t *testing.T) {
	deep := strings.Repeat("a {", 50)
	for text, want := range map[string]string{
		"datacentre = \"x\"":                            `read configuration: a.hcl:1: unknown key "datacentre": did you mean "datacenter"?`,
		"\n\nclient {\n  enabld = true\n}":              `read configuration: a.hcl:4: unknown key "enabld" in client: did you mean "enabled"?`,
		"client { reserved { nothing = 1 } }":           `read configuration: a.hcl:1: unknown key "nothing" in client.reserved`,
		"ports { http = \"x\" }":                        `read configuration: a.hcl:1: ports.http is "x": want a whole number`,
		"ports { http = 1.5 }":                          `read configuration: a.hcl:1: ports.http is "1.5": want a whole number`,
		"ports = 7":                                     `read configuration: a.hcl:1: ports is "7": want a block`,
		"name = {}":                                     `read configuration: a.hcl:1: name is a block: want a text`,
		"name = [1]":                                    `read configuration: a.hcl:1: name is a list: want a text`,
		"log_json = 7":                                  `read configuration: a.hcl:1: log_json is "7": want true or false`,
		"client { meta = 7 }":                           `read configuration: a.hcl:1: client.meta is "7": want a block`,
		"client { gc_disk_usage_threshold = \"much\" }": `read configuration: a.hcl:1: client.gc_disk_usage_threshold is "much": want a number`,
		"client { gc_interval = \"soon\" }":             `read configuration: a.hcl:1: client.gc_interval is "soon": want a duration such as "30s"`,
		"client { gc_interval = true }":                 `read configuration: a.hcl:1: client.gc_interval is "true": want a duration such as "30s"`,
		"name = value":                                  `read configuration: a.hcl:1: "value" stands where a value is wanted: texts are written in quotes`,
		"name = ":                                       `read configuration: a.hcl:1: the file ends here: want a value`,
		"name":                                          `read configuration: a.hcl:1: the file ends here: want ` + "`= VALUE` or a block after \"name\"",
		"client {":                                      `read configuration: a.hcl:1: the file ends here: want a name`,
		"client { } }":                                  `read configuration: a.hcl:1: unexpected "}": want a name`,
		"a.7 = 1":                                       `read configuration: a.hcl:1: unexpected "7": want a name after the dot`,
		"name = -x":                                     `read configuration: a.hcl:1: unexpected "x": want a number`,
		"name = [1 2]":                                  `read configuration: a.hcl:1: unexpected "2": want a comma or ` + "`]`",
		`name = "\q"`:                                   `read configuration: a.hcl:1: the text holds the unknown escape ` + "`\\q`",
		`{"name": "x"} y`:                               `read configuration: a.hcl:1: unexpected "y": want the end of the file`,
		deep:                                            `read configuration: a.hcl:1: blocks nest deeper than 32`,
		"name = " + strings.Repeat("[", 50):             `read configuration: a.hcl:1: lists nest deeper than 32`,
		strings.Repeat("a ", 50):                        `read configuration: a.hcl:1: blocks nest deeper than 32`,

		`name = "a b"`:                 `check configuration: name is "a b": want up to 128 letters, digits, dots, dashes and underscores`,
		`datacenter = ""`:              `check configuration: datacenter is "": want up to 128 letters, digits, dots, dashes and underscores`,
		`client { node_class = "/" }`:  `check configuration: client.node_class is "/": want up to 128 letters, digits, dots, dashes and underscores`,
		`client { node_pool = "all" }`: `check configuration: client.node_pool is "all": that names the nodes of all pools; want another name`,
		`client { meta { "" = "x" } }`: `check configuration: client.meta has an entry without a name: want name = "value"`,
		`region = "eu"`:                `check configuration: region is "eu": there is one region, "global"`,
		`log_level = "loud"`:           `check configuration: log_level is "loud": want DEBUG, INFO, WARN or ERROR`,
		"server { bootstrap_expect = 1 }\nclient { enabled = true }": `check configuration: server is not enabled: a cluster begins with a server: want server { enabled = true }`,
		`server { enabled = false }`:                                 `check configuration: neither server nor client is enabled: want at least server { enabled = true }`,
		`server { bootstrap_expect = 3 }`:                            `check configuration: server.bootstrap_expect is 3: a cluster begins with one server: want 1`,
		`bind_addr = "localhost"`:                                    `check configuration: bind_addr is "localhost": want an IP address such as 192.0.2.7, without a port`,
		`bind_addr = "1.2.3.4:5"`:                                    `check configuration: bind_addr is "1.2.3.4:5": want an IP address such as 192.0.2.7, without a port`,
		`bind_addr = "{{ GetPrivateIP }}"`:                           `check configuration: bind_addr is "{{ GetPrivateIP }}": address templates are not supported yet: write the address itself`,
		`addresses { rpc = "x" }`:                                    `check configuration: addresses.rpc is "x": want an IP address such as 192.0.2.7, without a port`,
		`addresses { http = "x" }`:                                   `check configuration: addresses.http is "x": want an IP address such as 192.0.2.7, without a port`,
		`addresses { http = "127.0.0.1 0.0.0.0" }`:                   `check configuration: addresses.http is "0.0.0.0": plain HTTP is offered on loopback alone: want 127.0.0.1 or ::1`,
		`advertise { rpc = "0.0.0.0" }`:                              `check configuration: advertise.rpc is "0.0.0.0": nobody can reach that: want the address that others see`,
		`advertise { rpc = "host:99999" }`:                           `check configuration: advertise.rpc is "host:99999": the port must be between 1 and 65535`,
		`advertise { serf = "a b" }`:                                 `check configuration: advertise.serf is "a b": want HOST or HOST:PORT`,
		`ports { http = -1 }`:                                        `check configuration: ports.http is -1: want a port between 1 and 65535, or 0 for any free one`,
		`ports { http = 4647 }`:                                      `check configuration: ports.http and ports.rpc are both 4647: want different ports`,
		`client { min_dynamic_port = 40000 }`:                        `check configuration: client.min_dynamic_port is 40000 and client.max_dynamic_port 32000: want a range between 1 and 65535`,
		`client { reserved { reserved_ports = "90-80" } }`:           `check configuration: client.reserved.reserved_ports is "90-80": want ports and ranges such as 22,80-90`,
		`client { reserved { cpu = -1 } }`:                           `check configuration: client.reserved.cpu is -1: want 0 or more`,
		`client { gc_disk_usage_threshold = 0 }`:                     `check configuration: client.gc_disk_usage_threshold is 0: want a percentage above 0 and up to 100`,
		`client { gc_disk_usage_threshold = "NaN" }`:                 `check configuration: client.gc_disk_usage_threshold is NaN: want a percentage above 0 and up to 100`,
		`client { max_kill_timeout = "-1s" }`:                        `check configuration: client.max_kill_timeout is -1s and client.gc_interval 1m0s: want durations of 0 or more`,
	} {
		if _, _, err := parsed(t, text); err == nil || err.Error() != want {
			t.Errorf("%.60s\n got %v\nwant %s", text, err, want)
		}
	}
	// What the scanner itself says differs with its version; that it says where is what counts.
	for _, text := range []string{"name = \"open", "name = <<EOF\nx", "a ; b", "\x00", "name = \"\xff\""} {
		if _, _, err := parsed(t, text); err == nil || !strings.HasPrefix(err.Error(), "read configuration: a.hcl:") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestConfigWarnings(t *testing.T) {
	_, warnings, err := parsed(t, "acl { enabled = true }\n\ntls { whatever { } }\nclient {\n host_volume \"x\" { path = \"/\" }\n options = { a = 1 }\n}\nplugin \"exec\" { }\nplugin \"docker\" { args = [1] }")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.String())
	}
	want := []string{
		"a.hcl:1: acl is not supported yet and has no effect",
		"a.hcl:3: tls is not supported yet and has no effect",
		"a.hcl:5: client.host_volume is not supported yet and has no effect",
		"a.hcl:6: client.options is not supported yet and has no effect",
		"a.hcl:8: plugin.exec is not supported yet and has no effect",
		"a.hcl:9: plugin.docker.args is not supported yet and has no effect",
	}
	if !slices.Equal(got, want) {
		t.Errorf("warned of\n%s", strings.Join(got, "\n"))
	}
}

// A directory gives its files in order; flags stand over files.
func TestAgentFlags(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"10.hcl": "datacenter = \"ten\"\nname = \"ten\"\nclient { meta { a = \"1\" } }", "20.json": `{"datacenter": "twenty"}`,
		".hidden.hcl": "nonsense", "30.hcl~": "nonsense", "readme.txt": "nonsense",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := newSession(t)
	start := func(args ...string) (AgentConfig, string, int) {
		var got agentStart
		s.agent = func(_ context.Context, a agentStart) error { got = a; return nil }
		out, status := s.run(append([]string{"agent"}, args...)...)
		if status == exitDone && !slices.Equal(got.Args, append([]string{"agent"}, args...)) {
			t.Errorf("started again with %v", got.Args)
		}
		return got.Config, out, status
	}
	c, out, status := start("-bootstrap", "-config", dir, "-data-dir", "relative", "-bind", "127.0.0.1", "-advertise", "10.0.0.9", "-name", "n",
		"-node-class", "c", "-meta", "b=2=3", "-meta=a=0", "-no-client", "-log-level", "WARN", "-log-json")
	if status != exitDone {
		t.Fatal(out)
	}
	absolute, _ := filepath.Abs("relative")
	if c.Datacenter != "twenty" || c.Name != "n" || c.DataDir != absolute || !c.Bootstrap || !c.Server.Enabled.On() || c.Client.Enabled.On() ||
		!maps.Equal(c.Client.Meta, map[string]string{"a": "0", "b": "2=3"}) || c.Advertise.RPC != "10.0.0.9" || c.Advertise.HTTP != "" || !c.LogJSON || c.Level().String() != "WARN" {
		t.Errorf("%+v", c)
	}
	if c, out, _ := start("-dev", "-dc", "x"); !c.Dev || c.DataDir != "" || c.Bind != "127.0.0.1" || c.Datacenter != "x" || !c.Bootstrap {
		t.Errorf("%+v\n%s", c, out)
	}
	for args, want := range map[string]string{
		"-config /nonexistent":   "Error: read configuration: stat /nonexistent: no such file or directory\n",
		"-meta novalue":          "Error: read flag -meta \"novalue\": want -meta KEY=VALUE\n",
		"-bind nowhere":          "Error: check configuration: bind_addr is \"nowhere\": want an IP address such as 192.0.2.7, without a port\n",
		"-daat-dir x":            "Error: find flag -daat-dir of `cluster agent`: did you mean -data-dir? `cluster agent -h` lists what there is\n",
		"-dev surplus":           "Error: run `cluster agent`: \"surplus\" is one argument too many: want `cluster agent`\n",
		"-address http://x -dev": "Error: find flag -address of `cluster agent`: there is none: `cluster agent -h` lists what there is\n",
	} {
		if _, out, status := start(strings.Fields(args)...); status != exitError || out != want {
			t.Errorf("agent %s: status %d\n%s", args, status, out)
		}
	}
	s.agent = func(context.Context, agentStart) error { return errors.New("run agent: no luck") }
	if out, status := s.run("agent", "-dev"); status != exitError || out != "Error: run agent: no luck\n" {
		t.Errorf("status %d\n%s", status, out)
	}
	s.agent = func(context.Context, agentStart) error { return &exitStatus{status: 3} }
	if out, status := s.run("agent", "-dev"); status != 3 || out != "" {
		t.Errorf("status %d\n%s", status, out)
	}
	if out, status := s.run("config", "validate", dir); status != exitDone || out != "Configuration is valid\n" {
		t.Errorf("status %d\n%s", status, out)
	}
}

// TestConfigTable checks the table of keys: no key stands in two lists of a struct.
func TestConfigTable(t *testing.T) {
	var check func(reflect.Type)
	check = func(typ reflect.Type) {
		seen := map[string]bool{}
		for i := range typ.NumField() {
			f := typ.Field(i)
			for _, tag := range []string{"hcl", "later", "moot"} {
				for _, key := range strings.Fields(f.Tag.Get(tag)) {
					if seen[key] {
						t.Errorf("%s has %q twice", typ, key)
					}
					seen[key] = true
				}
			}
			if f.Type.Kind() == reflect.Struct && f.Name != "_" {
				check(f.Type)
			}
		}
	}
	check(reflect.TypeFor[AgentConfig]())
}

// FuzzConfig: no file brings the reader down, and every error says where.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{"", "{", `{"client": [{"meta": {"a": "b"}}]}`, "client { meta { a = \"b\" } }", "plugin \"docker\" { config { a { b = [1, {c = 2}] } a { d = null } } }",
		"name = <<-EOF\n x\nEOF\n", "a.b.c = -1e9", `name = "${x ? "a" : 'b'}"`, "client { max_kill_timeout = 99999999999999999999 }", "ports { http = 99999999999999999999 }"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, _, err := parsed(t, text); err != nil && !strings.HasPrefix(err.Error(), "check configuration: ") && !strings.HasPrefix(err.Error(), "read configuration: a.hcl") {
			t.Errorf("%q: %v", text, err)
		}
	})
}
