package cluster

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// validations are changes of a valid job, and what is then wrong with it.
var validations = []struct {
	name   string
	change func(j *Job, g *TaskGroup, t *Task)
	want   []string
}{
	{"nothing", func(j *Job, g *TaskGroup, t *Task) {}, nil},
	{"no ID", func(j *Job, g *TaskGroup, t *Task) { j.ID = "" }, []string{`Missing job ID; give it one`}},
	{"ID of two words", func(j *Job, g *TaskGroup, t *Task) { j.ID = "a b" }, []string{`id: Job ID contains a space or a NUL: "a b"; write dashes instead`}},
	{"ID with reference", func(j *Job, g *TaskGroup, t *Task) { j.ID = "${x}" }, []string{`The job ID "${x}" refers to something; write its final text`}},
	{"long name", func(j *Job, g *TaskGroup, t *Task) { j.Name = strings.Repeat("n", 1_000_000) },
		[]string{`The job name "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"… is 1000000 bytes long, the limit is 128`}},
	{"NUL in name", func(j *Job, g *TaskGroup, t *Task) { j.Name = "a\x00" }, []string{`name: Job name contains a NUL`}},
	{"no type", func(j *Job, g *TaskGroup, t *Task) { j.Type = "x" }, []string{`type: type must be "service", "batch", "system" or "sysbatch", have "x"`}},
	{"priority", func(j *Job, g *TaskGroup, t *Task) { j.Priority = 101 }, []string{`priority: Job priority must be between [1, 100], have 101`}},
	{"datacenter", func(j *Job, g *TaskGroup, t *Task) { j.Datacenters = []string{""} }, []string{`datacenters: Datacenter must be non-empty string; write ["*"] for all`}},
	{"long namespace", func(j *Job, g *TaskGroup, t *Task) { j.Namespace = strings.Repeat("n", 200) },
		[]string{`namespace: The namespace "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"… is 200 bytes long, the limit is 128`}},
	{"no groups", func(j *Job, g *TaskGroup, t *Task) { j.TaskGroups = nil }, []string{`Missing job task groups; write at least one "group" block`}},
	{"no group name", func(j *Job, g *TaskGroup, t *Task) { g.Name = "" }, []string{`group "": Missing task group name; give it one`}},
	{"group twice", func(j *Job, g *TaskGroup, t *Task) { j.TaskGroups = append(j.TaskGroups, *g) }, []string{`group "g": Job task group "g" redefined; give each group a name of its own`}},
	{"negative count", func(j *Job, g *TaskGroup, t *Task) { g.Count = -1 }, []string{`group "g" > count: Task group count can't be negative, have -1`}},
	{"large count", func(j *Job, g *TaskGroup, t *Task) { g.Count = math.MaxInt }, []string{`The counts of the job's groups add up to more than 50000, the limit for a job`}},
	{"large counts", func(j *Job, g *TaskGroup, t *Task) {
		second := *g
		second.Name, g.Count, second.Count = "h", 30000, 20001
		j.TaskGroups = append(j.TaskGroups, second)
	}, []string{`The counts of the job's groups add up to more than 50000, the limit for a job`}},
	{"count of a system job", func(j *Job, g *TaskGroup, t *Task) {
		j.Type, g.Count, g.ReschedulePolicy, g.Migrate = "system", 2, nil, nil
	},
		[]string{`group "g" > count: Count cannot exceed 1 with system scheduler, have 2; it runs once on every node`}},
	{"spread of a system job", func(j *Job, g *TaskGroup, t *Task) {
		j.Type, g.ReschedulePolicy, g.Migrate, j.Spreads = "system", nil, nil, []Spread{{Attribute: "${node.class}", Weight: 5}}
	}, []string{`spread[0]: System jobs may not have a spread block; remove it`}},
	{"update of a batch job", func(j *Job, g *TaskGroup, t *Task) { j.Type, g.Migrate = "batch", nil }, []string{`update: Job type "batch" does not allow update block; remove it`, `group "g" > update: Job type "batch" does not allow update block; remove it`}},
	{"migrate of a batch job", func(j *Job, g *TaskGroup, t *Task) { j.Type, j.Update, g.Update = "batch", UpdateStrategy{}, nil }, []string{`group "g" > migrate: Job type "batch" does not allow migrate block; remove it`}},
	{"migrate", func(j *Job, g *TaskGroup, t *Task) {
		g.Migrate = &MigrateStrategy{MaxParallel: -1, MinHealthyTime: 2, HealthyDeadline: 1}
	}, []string{
		`group "g" > migrate > max_parallel: MaxParallel must be >= 0 but found -1`,
		`group "g" > migrate > min_healthy_time: MinHealthyTime must be between 0 and HealthyDeadline (1ns), have 2ns`}},
	{"update times of the job", func(j *Job, g *TaskGroup, t *Task) { j.Update.HealthyDeadline = 0; *g.Update = j.Update }, []string{
		`update > healthy_deadline: Healthy deadline must be greater than zero: 0s`,
		`update > min_healthy_time: Minimum healthy time must be less than healthy deadline: 10s > 0s`}},
	{"update times of the group", func(j *Job, g *TaskGroup, t *Task) {
		g.Update.MinHealthyTime, g.Update.ProgressDeadline, g.Update.Stagger = -1, -1, 0
	}, []string{
		`group "g" > update > min_healthy_time: Minimum healthy time may not be less than zero: -1ns`,
		`group "g" > update > progress_deadline: Progress deadline must be zero or greater: -1ns`,
		`group "g" > update > healthy_deadline: Healthy deadline must be less than progress deadline: 5m0s > -1ns`,
		`group "g" > update > stagger: Stagger must be greater than zero: 0s`}},
	{"no progress deadline", func(j *Job, g *TaskGroup, t *Task) { g.Update.ProgressDeadline, t.KillTimeout = 0, time.Hour }, nil},
	{"restarts do not fit", func(j *Job, g *TaskGroup, t *Task) {
		g.RestartPolicy.Attempts, t.RestartPolicy.Attempts = math.MaxInt, math.MaxInt
	}, []string{
		`group "g" > restart: Tasks can't restart 9223372036854775807 times in an interval of 30m0s with a delay of 15s; make the interval longer or the delay shorter`}},
	{"restart of a task", func(j *Job, g *TaskGroup, t *Task) { t.RestartPolicy = RestartPolicy{Mode: "delay", Delay: -1} }, []string{
		`group "g" > task "t" > restart > attempts: Restart policy "delay" with 0 attempts is ambiguous; write mode = "fail" or attempts above 0`,
		`group "g" > task "t" > restart > interval: Interval can not be less than 5s (got 0s)`,
		`group "g" > task "t" > restart > delay: Delay can not be negative (got -1ns)`}},
	{"disconnect", func(j *Job, g *TaskGroup, t *Task) {
		g.Disconnect = &DisconnectStrategy{LostAfter: -1, StopOnClientAfter: -1, Reconcile: "x"}
	}, []string{
		`group "g" > disconnect > reconcile: reconcile must be "best_score", "keep_original", "keep_replacement" or "longest_running", have "x"`,
		`group "g" > disconnect > lost_after: lost_after cannot be a negative duration, have -1ns`,
		`group "g" > disconnect > stop_on_client_after: stop_on_client_after cannot be a negative duration, have -1ns`,
		`group "g" > disconnect: Disconnect cannot be configured with both lost_after and stop_on_client_after; remove one`,
	}},
	{"disconnect of a system job", func(j *Job, g *TaskGroup, t *Task) {
		j.Type, g.ReschedulePolicy, g.Migrate = "system", nil, nil
		g.Disconnect = &DisconnectStrategy{StopOnClientAfter: time.Minute, Reconcile: ReconcileBestScore}
	}, []string{`group "g" > disconnect > stop_on_client_after: stop_on_client_after can only be used with service and batch jobs; remove it`}},
	{"reschedule never", func(j *Job, g *TaskGroup, t *Task) { g.ReschedulePolicy = &ReschedulePolicy{} }, nil},
	{"reschedule does not fit", func(j *Job, g *TaskGroup, t *Task) {
		g.ReschedulePolicy = &ReschedulePolicy{Attempts: 4, Interval: time.Minute, Delay: 10 * time.Second, DelayFunction: "exponential", MaxDelay: time.Minute}
	}, []string{`group "g" > reschedule: 4 attempts with a delay of 10s do not fit into an interval of 1m0s; make the interval longer`}},
	{"reschedule fits by fibonacci", func(j *Job, g *TaskGroup, t *Task) {
		g.ReschedulePolicy = &ReschedulePolicy{Attempts: 3, Interval: time.Minute, Delay: 10 * time.Second, DelayFunction: "fibonacci", MaxDelay: time.Minute}
	}, nil},
	{"reschedule fits once", func(j *Job, g *TaskGroup, t *Task) {
		g.ReschedulePolicy = &ReschedulePolicy{Attempts: 1, Interval: 15 * time.Second, Delay: 15 * time.Second, DelayFunction: "exponential", MaxDelay: time.Minute}
	}, nil},
	{"reschedule fits at the longest delay", func(j *Job, g *TaskGroup, t *Task) {
		g.ReschedulePolicy = &ReschedulePolicy{Attempts: 6, Interval: 240 * time.Second, Delay: 10 * time.Second, DelayFunction: "exponential", MaxDelay: time.Minute}
	}, []string{`group "g" > reschedule: 6 attempts with a delay of 10s do not fit into an interval of 4m0s; make the interval longer`}},
	{"reschedule fits by a growing delay", func(j *Job, g *TaskGroup, t *Task) {
		g.ReschedulePolicy = &ReschedulePolicy{Attempts: 5, Interval: 190 * time.Second, Delay: 10 * time.Second, DelayFunction: "exponential", MaxDelay: time.Minute}
	}, nil},
	{"one service of another provider", func(j *Job, g *TaskGroup, t *Task) {
		service := func(name, provider string) Service {
			return Service{Name: name, Provider: provider, AddressMode: "auto", OnUpdate: OnUpdateRequireHealthy}
		}
		g.Services = []Service{service("a", "nomad"), service("b", "consul"), service("c", "nomad")}
	}, []string{`group "g" > service[1] > provider: Multiple service providers used: group services must use the same provider, have "nomad" and "consul"`}},
	{"type of a job with reference", func(j *Job, g *TaskGroup, t *Task) { j.Type = "${attr.x}" },
		[]string{`type: type must be "service", "batch", "system" or "sysbatch", have "${attr.x}"`}},
	{"mode of a restart with reference", func(j *Job, g *TaskGroup, t *Task) { g.RestartPolicy.Mode, t.RestartPolicy.Mode = "${x}", "${x}" },
		[]string{`group "g" > restart > mode: mode must be "fail" or "delay", have "${x}"`}},
	{"a port of the same network by both its names", func(j *Job, g *TaskGroup, t *Task) {
		g.Networks = []Network{{ReservedPorts: []Port{{Label: "a", Value: 80}, {Label: "b", Value: 80, HostNetwork: "default"}, {Label: "http"}}}}
	}, []string{`group "g" > network[0] > port "b" > static: Static port 80 already reserved by port "a"; choose another`}},
	{"reschedule delays", func(j *Job, g *TaskGroup, t *Task) { g.ReschedulePolicy.MaxDelay = time.Second }, []string{
		`group "g" > reschedule > max_delay: Max Delay cannot be less than 5s (got 1s)`,
		`group "g" > reschedule > max_delay: Max Delay cannot be less than Delay 30s (got 1s)`}},
	{"no tasks", func(j *Job, g *TaskGroup, t *Task) { g.Tasks = nil }, []string{`group "g": Missing tasks for task group "g"; write at least one "task" block in it`}},
	{"task outside its folder", func(j *Job, g *TaskGroup, t *Task) { t.Name = ".." },
		[]string{`group "g" > task "..": Task name cannot include slashes or be a dot: ".."; it becomes the name of a folder`}},
	{"no driver", func(j *Job, g *TaskGroup, t *Task) { t.Driver = "" }, []string{`group "g" > task "t": Missing task driver; write one such as driver = "docker"`}},
	{"kill timeout", func(j *Job, g *TaskGroup, t *Task) { t.KillTimeout = time.Hour },
		[]string{`group "g" > task "t" > kill_timeout: KillTimeout (1h0m0s) is longer than the group's ProgressDeadline (10m0s)`}},
	{"environment", func(j *Job, g *TaskGroup, t *Task) { t.Env = map[string]string{"": "x", "A": "\x00", "B=": "y"} }, []string{
		`group "g" > task "t" > env: Environment variable name "" is empty or contains "="`,
		`group "g" > task "t" > env: The value of environment variable "A" contains a NUL`,
		`group "g" > task "t" > env: Environment variable name "B=" is empty or contains "="`}},
	{"resources", func(j *Job, g *TaskGroup, t *Task) { t.Resources = Resources{CPU: 0, MemoryMB: 1 << 40} }, []string{
		`group "g" > task "t" > resources > cpu: minimum CPU value is 1; got 0`,
		`group "g" > task "t" > resources > memory: MemoryMB of 1099511627776 is more than any machine has; the unit is MB`}},
	{"disk", func(j *Job, g *TaskGroup, t *Task) { g.EphemeralDisk.SizeMB = math.MaxInt },
		[]string{`group "g" > ephemeral_disk > size: The disk size of 9223372036854775807 MB is not of this world; the unit is MB`}},
	{"logs as large as the disk", func(j *Job, g *TaskGroup, t *Task) { t.LogConfig = LogConfig{MaxFiles: 30, MaxFileSizeMB: 10} }, []string{
		`group "g" > task "t" > logs: log storage (30 files of 10 MB) must be less than requested disk capacity (300 MB); write a larger ephemeral_disk or fewer files`}},
	{"logs that overflow", func(j *Job, g *TaskGroup, t *Task) { t.LogConfig = LogConfig{MaxFiles: math.MaxInt, MaxFileSizeMB: 2} }, []string{
		`group "g" > task "t" > logs: log storage (9223372036854775807 files of 2 MB) must be less than requested disk capacity (300 MB); write a larger ephemeral_disk or fewer files`}},
	{"logs that are off", func(j *Job, g *TaskGroup, t *Task) {
		t.LogConfig = LogConfig{MaxFiles: 30, MaxFileSizeMB: 10, Disabled: true}
	}, nil},
	{"port out of range", func(j *Job, g *TaskGroup, t *Task) { g.Networks[0].DynamicPorts[0].To = -2 },
		[]string{`group "g" > network[0] > port "http" > to: Port "http" cannot be mapped to a negative port (-2)`}},
	{"service without its port", func(j *Job, g *TaskGroup, t *Task) {
		g.Services[0].PortLabel, g.Services[0].Checks[0].PortLabel = "", ""
	}, []string{
		`group "g" > service[0] > check[0]: "http" check without a port; write port in the service or in the check`}},
	{"numeric port", func(j *Job, g *TaskGroup, t *Task) { g.Services[0].PortLabel = "70000" },
		[]string{`group "g" > service[0] > port: Port 70000 is not between 1 and 65535`}},
	{"two services of one name", func(j *Job, g *TaskGroup, t *Task) { g.Services = append(g.Services, g.Services[0]) },
		[]string{`group "g" > service[1]: Service "web" with port "http" is defined twice in the group; give it another name`}},
	{"service of another task", func(j *Job, g *TaskGroup, t *Task) {
		t.Services = []Service{DefaultService()}
		t.Services[0].Name, t.Services[0].TaskName = "x", "u"
	}, []string{
		`group "g" > task "t" > service[0] > task: Service "x" is another task's and can not refer to task "u"; remove task`,
		`group "g" > task "t" > service[0] > task: Service refers to task "u", which the group does not have`}},
	{"service name", func(j *Job, g *TaskGroup, t *Task) { g.Services[0].Name = "a_b" }, []string{
		`group "g" > service[0] > name: Service name must be valid per RFC 1123 and can contain only alphanumeric characters or dashes and must be no longer than 63 characters: "a_b"`}},
	{"service name of a node", func(j *Job, g *TaskGroup, t *Task) { g.Services[0].Name = "a_${NOMAD_ALLOC_INDEX}" }, nil},
	{"many services", func(j *Job, g *TaskGroup, t *Task) {
		for i := range 64 {
			s := DefaultService()
			s.Name = fmt.Sprintf("s%d", i)
			g.Services = append(g.Services, s)
		}
	}, []string{`group "g": The group has 65 services, the limit is 64`}},
	{"constraints", func(j *Job, g *TaskGroup, t *Task) {
		j.Constraints = []Constraint{
			{"${attr.x}", "1", "="}, {"${meta.x}", "[a", "regexp"}, {"${node.class}", "~> 1.0", "version"}, {"${node.pool}", "x", "version"},
			{"${attr.x}", "~> 1", "semver"}, {"${attr.x}", "", "is_set"}, {"${attr.x}", "1", "is_not_set"}, {"", "true", "distinct_hosts"},
			{"${node.region}", "1", "="}, {"literal", "1", "="}, {"", "x", "="}, {"${attr.x}", "", "<"}, {"${attr.x}", "1", "distinct_property"}, {"${attr.x}", "1", "~"},
		}
		t.Constraints = []Constraint{{"", "", "distinct_hosts"}}
	}, []string{
		"constraint[1] > value: Regular expression failed to compile: error parsing regexp: missing closing ]: `[a`",
		`constraint[3] > value: Version constraint is invalid: "x"; write one such as ">= 1.2, < 2"`,
		`constraint[4] > value: Semver constraint is invalid: "~> 1"; write one such as ">= 1.2.0"`,
		`constraint[6] > value: Operator "is_not_set" does not support an RTarget; remove the value`,
		`constraint[8] > attribute: unsupported attribute "${node.region}"; write ${node.unique.id}, ${node.datacenter}, ${node.unique.name}, ${node.class}, ${node.pool}, ${attr.…} or ${meta.…}`,
		`constraint[10]: No LTarget provided but is required by constraint; write an attribute`,
		`constraint[11]: Operator "<" requires an RTarget; write a value`,
		`constraint[13] > operator: Unknown constraint type "~"; write one of = != < <= > >= regexp version semver set_contains is_set is_not_set distinct_hosts`,
		`group "g" > task "t" > constraint[0]: distinct_hosts constraints must be placed on the job or the group, not on a task`,
	}},
	{"long pattern", func(j *Job, g *TaskGroup, t *Task) {
		j.Constraints = []Constraint{{"${attr.x}", strings.Repeat("a", 1001), "regexp"}}
	}, []string{`constraint[0] > value: The value "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"… is 1001 bytes long, the limit is 1000`}},
}

func TestValidate(t *testing.T) {
	for _, c := range validations {
		t.Run(c.name, func(t *testing.T) {
			j := decoded(t, `{"ID": "j", "TaskGroups": [{"Name": "g", "Tasks": [{"Name": "t", "Driver": "raw_exec"}], "Networks": [{"DynamicPorts": [{"Label": "http"}]}],
				"Services": [{"Name": "web", "PortLabel": "http", "Checks": [{"Type": "http", "Path": "/", "Interval": "10s", "Timeout": "1s"}]}]}]}`)
			c.change(j, &j.TaskGroups[0], &j.TaskGroups[0].Tasks[0])
			var have []string
			for _, problem := range j.Validate() {
				have = append(have, problem.String())
			}
			if !reflect.DeepEqual(have, c.want) {
				t.Errorf("have\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// TestValidateIsQuick gives Validate the largest jobs that get past DecodeJob.
func TestValidateIsQuick(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"ID": "j", "TaskGroups": [`)
	for i := 0; b.Len() < MaxJobSize-100; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"Name": "g%d"}`, i)
	}
	b.WriteString("]}")
	problems := decoded(t, b.String()).Validate()
	if len(problems) == 0 {
		t.Error("no problems")
	}
}

func TestWarnings(t *testing.T) {
	j := decoded(t, `{"ID": "j", "Update": {"MaxParallel": 3}, "TaskGroups": [{"Name": "a", "Count": 2}, {"Name": "b", "Count": 3}, {"Name": "c", "Count": 0}]}`)
	want := `update > max_parallel: max_parallel (3) is greater than the count of group "a" (2): a change that replaces allocations replaces all at once`
	if have := j.Warnings().Lines(); have != want {
		t.Errorf("have %q", have)
	}
}

// What follows the last field of a cron expression is not read: it may be meant as something that it is not.
func TestSurplusOfACronExpression(t *testing.T) {
	for spec, odd := range map[string]bool{
		"0 3 * * *": false, "0 0 3 * * * 2099": false, "@daily": false, " @daily ": false,
		"0 0 3 * * * 2099 root": true, "@daily 03:00": true,
	} {
		j := decoded(t, `{"ID": "j", "Type": "batch", "Periodic": {"Specs": ["`+spec+`"]}, "TaskGroups": [{"Name": "g"}]}`)
		have := j.Warnings().Lines()
		if want := "periodic > crons: the cron spec \"" + spec + "\" is longer"; strings.HasPrefix(have, want) != odd || !odd && have != "" {
			t.Errorf("%q: have %q", spec, have)
		}
	}
}

// What there is not yet is told by name: what the job must not run without apart from the rest, which is told once.
func TestMissing(t *testing.T) {
	j := decoded(t, `{"ID": "j", "Type": "sysbatch", "Region": "eu", "Multiregion": {"Regions": []}, "TaskGroups": [
		{"Name": "a", "Volumes": {"y": {"Type": "host"}, "x": null}, "Constraints": [{"LTarget": "${attr.x}", "Operand": "distinct_property"}, {"LTarget": "${attr.x}"}],
			"Networks": [{"ReservedPorts": [{"Label": "p", "Value": 1, "HostNetwork": "other"}]}],
			"Tasks": [{"Name": "t", "Leader": true, "Templates": [{"DestPath": "x"}], "Actions": [{"Name": "n"}], "Resources": {"IOPS": 5}}]},
		{"Name": "b", "Networks": [{"Mode": "host"}], "Tasks": [{"Name": "u", "Actions": [{"Name": "n"}, {"Name": "m"}], "Resources": {"NUMA": {"Affinity": "none"}}}]}]}`)
	refused, warned := j.Missing()
	want := `region: region = "eu" is not supported yet: there is one region, "global"
group "a" > network[0] > port "p" > host_network: host_network = "other" is not supported yet: the port would be on another network
group "a" > volume "y": the "volume" block is not supported yet: the tasks' data would be missing
group "a" > task "t" > template[0]: the "template" block is not supported yet: the task's files would be missing
group "a" > task "t" > leader: "leader" is not supported yet: the other tasks would not end with it
multiregion: the "multiregion" block is not supported yet: there is one region; remove the block`
	if refused.Lines() != want {
		t.Errorf("refused\n%s", refused.Lines())
	}
	want = `group "a" > task "t" > action "n": the "action" block is not supported yet: they cannot be run (the same in another place)`
	if warned.Lines() != want {
		t.Errorf("warned\n%s", warned.Lines())
	}
}

// A check_restart that checks inherit is told of where it was written.
func TestMissingIsToldWhereItWasWritten(t *testing.T) {
	job := func(services string) *Job {
		return decoded(t, `{"ID": "j", "TaskGroups": [{"Name": "a", "Services": [`+services+`], "Tasks": [{"Name": "t"}]}]}`)
	}
	const (
		inherits = `{"Name": "s", "CheckRestart": {"Limit": 3}, "Checks": [{"Name": "x", "Type": "tcp"}, {"Name": "y", "Type": "tcp"}]}`
		differs  = `{"Name": "s", "CheckRestart": {"Limit": 3}, "Checks": [{"Name": "x", "Type": "tcp"}, {"Name": "y", "Type": "tcp", "CheckRestart": {"Limit": 4}}]}`
		alone    = `{"Name": "s", "Checks": [{"Name": "x", "Type": "tcp", "CheckRestart": {"Limit": 3}}]}`
	)
	for services, want := range map[string][]Path{
		inherits:               {`group "a" > service[0] > check_restart`},
		differs:                {`group "a" > service[0] > check_restart`, `group "a" > service[0] > check[1] > check_restart`},
		inherits + "," + alone: {`group "a" > service[0] > check_restart`, `group "a" > service[1] > check[0] > check_restart`},
	} {
		var have []Path
		_, warned := job(services).Missing()
		for _, w := range warned {
			have = append(have, w.Path)
		}
		if !slices.Equal(have, want) {
			t.Errorf("%s\nhave %q\nwant %q", services, have, want)
		}
	}
}

// TestLatersAreFields: a row of the table that names no field would never match.
func TestLatersAreFields(t *testing.T) {
	for _, l := range Laters() {
		if _, ok := l.Noun.FieldByName(l.Field); !ok || l.Text == "" || strings.HasSuffix(l.Text, ".") {
			t.Errorf("%s.%s: %q", l.Noun.Name(), l.Field, l.Text)
		}
	}
}

// TestManyAttempts checks a job whose attempts would take minutes to count one by one.
func TestManyAttempts(t *testing.T) {
	for _, function := range []string{"constant", "exponential", "fibonacci"} {
		policy := ReschedulePolicy{Attempts: math.MaxInt, Interval: math.MaxInt64, Delay: minRescheduleDelay, DelayFunction: function, MaxDelay: minRescheduleDelay}
		for range 1000 {
			if policy.fits() {
				t.Fatalf("%s: %d attempts fit", function, policy.Attempts)
			}
		}
		policy.MaxDelay = math.MaxInt64
		if policy.Attempts = 30; !policy.fits() {
			t.Errorf("%s: %d attempts do not fit", function, policy.Attempts)
		}
	}
}

// Of two identities that are the task's own neither is dropped: it could be the one that says where the token goes.
func TestATaskHasOneIdentityOfItsOwn(t *testing.T) {
	for _, row := range []struct{ identities, want string }{
		{`[{"File": true}]`, ""},
		{`[{"Name": "default", "File": true}, {"Name": "other", "Audience": ["a"], "TTL": 1}]`, ""},
		{`[{"File": true}, {"Name": "default", "Audience": ["a"]}]`,
			`group "g" > task "t": The task has 2 identities of its own, which have no name or that of "default"; write one, and give the others names`},
	} {
		job := decoded(t, `{"ID": "x", "TaskGroups": [{"Name": "g", "Tasks": [{"Name": "t", "Driver": "docker", "Identities": `+row.identities+`}]}]}`)
		if have := job.Validate().Lines(); have != row.want {
			t.Errorf("%s: have %q, want %q", row.identities, have, row.want)
		}
		if again := redecode(t, job); !reflect.DeepEqual(job, again) {
			t.Errorf("%s: once  %+v\ntwice %+v", row.identities, job, again)
		}
	}
}
