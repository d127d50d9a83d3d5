package cluster

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// instance is an allocation of a job with a bit of everything, and its node.
func instance() (*Allocation, *Node) {
	job := DefaultJob(JobTypeService)
	job.ID, job.Name = "shop", "Shop"
	job.Meta = map[string]string{"owner": "job", "tier.zone": "a"}
	group := DefaultGroup(&job)
	group.Name = "web"
	group.Meta = map[string]string{"owner": "group"}
	front := DefaultService()
	front.Name, front.PortLabel, front.Tags = "${NOMAD_JOB_ID}-front", "http", []string{"v${NOMAD_ALLOC_INDEX}", "plain"}
	group.Services = []Service{front}
	task := DefaultTask(&group)
	task.Name, task.Driver = "server", "raw_exec"
	task.Meta = map[string]string{"owner": "task"}
	task.Env = map[string]string{"LISTEN": "${NOMAD_ADDR_http}", "WHERE": "${attr.kernel.name}", "NOMAD_DC": "mine"}
	own := DefaultService()
	own.Name, own.PortLabel, own.Address = "metrics", "metrics-in", "${LISTEN}"
	task.Services = []Service{own}
	group.Tasks = []Task{task}
	job.TaskGroups = []TaskGroup{group}
	a := &Allocation{ID: ID{0xab, 1}, NodeID: ID{7}, Job: &job, TaskGroup: "web", Index: 3, CreateIndex: 5, ModifyIndex: 9,
		Ports: []AllocatedPort{{Label: "http", HostIP: "10.0.0.4", Value: 20001, To: 80}, {Label: "metrics-in", HostIP: "0.0.0.0", Value: 20002}}}
	n := &Node{ID: ID{7}, Name: "n1", Datacenter: "dc1", NodePool: "default", Attributes: map[string]string{"kernel.name": "linux"}, Meta: map[string]string{"rack": "r2"},
		NodeResources: NodeResources{NodeNetworks: []NodeNetwork{{Addresses: []NodeAddress{{Alias: "default", Address: "10.0.0.9"}, {Address: "10.0.0.4"}}}}}}
	return a, n
}

func TestPortsOfNodeThatMoved(t *testing.T) {
	a, n := instance()
	n.NodeResources.NodeNetworks[0].Addresses = n.NodeResources.NodeNetworks[0].Addresses[:1] // 10.0.0.4 is no more
	if address, port := a.PortAddress("http", n); address != "10.0.0.9" || port != 20001 {
		t.Errorf("the port is reached at %s:%d", address, port)
	}
	if ports := a.PortsOn(n); ports[0].HostIP != "10.0.0.9" || ports[1].HostIP != "10.0.0.9" || a.Ports[0].HostIP != "10.0.0.4" {
		t.Errorf("its ports are %v, those of the allocation %v", ports, a.Ports)
	}
	if got := a.TaskScope(n, "server", TaskDirs{}).Interpolate("${NOMAD_ADDR_http}"); got != "10.0.0.9:20001" {
		t.Errorf("the task's address is %s", got)
	}
	if ports := a.PortsOn(&Node{}); ports[0].HostIP != "10.0.0.4" {
		t.Errorf("on a node without addresses its ports are %v", ports)
	}
}

func TestInterpolate(t *testing.T) {
	a, n := instance()
	scope := a.TaskScope(n, "server", TaskDirs{Alloc: "/a", Local: "/l", Secrets: "/s"})
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"nothing", "nothing"},
		{"${NOMAD_TASK_DIR}/x", "/l/x"},
		{"a${NOMAD_JOB_ID}b${NOMAD_JOB_ID}c", "ashopbshopc"},
		{"${CLUSTER_ALLOC_INDEX}", "3"},
		{"${LISTEN}", "10.0.0.4:20001"},
		{`${env["LISTEN"]}`, "10.0.0.4:20001"},
		{`${env["NONE"]}`, `${env["NONE"]}`},
		{"${node.unique.name} ${node.datacenter} ${node.region} ${node.pool}", "n1 dc1 global default"},
		{"${attr.kernel.name} ${node.attr.kernel.name} ${meta.rack} ${node.meta.rack}", "linux linux r2 r2"},
		{"${NOMAD_PORT_metrics-in}", "20002"},
		{"${unknown} ${attr.none}", "${unknown} ${attr.none}"},
		{"${", "${"},
		{"${open", "${open"},
		{"${}", "${}"},
		{"${a ${NOMAD_JOB_ID}}", "${a shop}"},
		{"$${NOMAD_JOB_ID}", "$shop"},
	} {
		if got := scope.Interpolate(c.text); got != c.want {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
}

func TestInterpolateValueReachesEveryString(t *testing.T) {
	a, n := instance()
	scope := a.TaskScope(n, "server", TaskDirs{})
	given := map[string]any{
		"command": "${NOMAD_JOB_ID}", "n": 3.0, "on": true, "none": nil,
		"args": []any{"${NOMAD_TASK_NAME}", []any{"${node.datacenter}"}},
		"more": []map[string]any{{"k": "${NOMAD_JOB_ID}"}}, "env": map[string]string{"k": "${NOMAD_JOB_ID}"},
		"list": []string{"${NOMAD_JOB_ID}"},
	}
	want := map[string]any{
		"command": "shop", "n": 3.0, "on": true, "none": nil,
		"args": []any{"server", []any{"dc1"}},
		"more": []map[string]any{{"k": "shop"}}, "env": map[string]string{"k": "shop"}, "list": []string{"shop"},
	}
	if got := scope.InterpolateValue(given); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if given["command"] != "${NOMAD_JOB_ID}" {
		t.Error("the value given was modified")
	}
}

func TestDispatchedEnvironment(t *testing.T) {
	a, n := instance()
	a.Job.ParentID, a.Job.Dispatched = "shop", true
	a.Job.ParameterizedJob = &ParameterizedJobConfig{MetaRequired: []string{"who"}, MetaOptional: []string{"left.out", "owner"}}
	env := a.TaskScope(n, "server", TaskDirs{}).Env()
	for name, want := range map[string]string{
		"NOMAD_JOB_PARENT_ID": "shop", "CLUSTER_JOB_PARENT_ID": "shop",
		"NOMAD_META_LEFT_OUT": "", "NOMAD_META_left_out": "", "NOMAD_META_OWNER": "task",
	} {
		if got, known := env[name]; !known || got != want {
			t.Errorf("%s is %q (%v), want %q", name, got, known, want)
		}
	}
	if got, known := a.GroupScope(n).env["CLUSTER_META_LEFT_OUT"]; !known || got != "" {
		t.Errorf("to services it is %q, %v", got, known)
	}
	a.Job.Dispatched, a.Job.ParentID = false, ""
	env = a.TaskScope(n, "server", TaskDirs{}).Env()
	if _, known := env["NOMAD_META_LEFT_OUT"]; known || env["NOMAD_JOB_PARENT_ID"] != "" {
		t.Error("a job that was not dispatched is told of what it could be given")
	}
}

func TestTaskEnvironment(t *testing.T) {
	a, n := instance()
	env := a.TaskScope(n, "server", TaskDirs{Alloc: "/a", Local: "/l", Secrets: "/s"}).Env()
	want := map[string]string{
		"ALLOC_DIR": "/a", "TASK_DIR": "/l", "SECRETS_DIR": "/s", "CPU_LIMIT": "100", "MEMORY_LIMIT": "300",
		"ALLOC_ID": a.ID.String(), "SHORT_ALLOC_ID": "ab010000", "ALLOC_NAME": "shop.web[3]", "ALLOC_INDEX": "3",
		"TASK_NAME": "server", "GROUP_NAME": "web", "JOB_ID": "shop", "JOB_NAME": "Shop", "NAMESPACE": "default", "REGION": "global", "DC": "dc1",
		"IP_http": "10.0.0.4", "HOST_IP_http": "10.0.0.4", "PORT_http": "80", "ALLOC_PORT_http": "80", "HOST_PORT_http": "20001",
		"ADDR_http": "10.0.0.4:20001", "HOST_ADDR_http": "10.0.0.4:20001",
		"IP_metrics_in": "10.0.0.9", "HOST_IP_metrics_in": "10.0.0.9", "PORT_metrics_in": "20002", "ALLOC_PORT_metrics_in": "20002",
		"HOST_PORT_metrics_in": "20002", "ADDR_metrics_in": "10.0.0.9:20002", "HOST_ADDR_metrics_in": "10.0.0.9:20002",
		"META_OWNER": "task", "META_owner": "task", "META_TIER_ZONE": "a", "META_tier_zone": "a",
	}
	expected := map[string]string{"LISTEN": "10.0.0.4:20001", "WHERE": "linux"}
	for key, value := range want {
		expected["NOMAD_"+key], expected["CLUSTER_"+key] = value, value
	}
	expected["NOMAD_DC"] = "mine" // the task's own env wins
	for _, key := range slices.Sorted(maps.Keys(expected)) {
		if env[key] != expected[key] {
			t.Errorf("%s: got %q, want %q", key, env[key], expected[key])
		}
	}
	for key := range env {
		if _, ok := expected[key]; !ok {
			t.Errorf("%s: not expected", key)
		}
	}
}

func TestRegistrations(t *testing.T) {
	a, n := instance()
	if got := Registrations(a, n); got != nil {
		t.Errorf("nothing passes, got %v", got)
	}
	a.Passing = 3
	got := Registrations(a, n)
	want := []ServiceRegistration{
		{ID: "_nomad-task-" + a.ID.String() + "-group-web-shop-front-http", ServiceName: "shop-front", Namespace: "default", NodeID: n.ID, Datacenter: "dc1",
			JobID: "shop", AllocID: a.ID, Tags: []string{"v3", "plain"}, Address: "10.0.0.4", Port: 20001, CreateIndex: 5, ModifyIndex: 9},
		{ID: "_nomad-task-" + a.ID.String() + "-server-metrics-metrics-in", ServiceName: "metrics", Namespace: "default", NodeID: n.ID, Datacenter: "dc1",
			JobID: "shop", AllocID: a.ID, Tags: []string{}, Address: "10.0.0.4:20001", Port: 20002, CreateIndex: 5, ModifyIndex: 9},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	a.Passing = 2
	if got := Registrations(a, n); len(got) != 1 || got[0].ServiceName != "metrics" {
		t.Errorf("only the second passes, got %+v", got)
	}
	a.Passing = 3
	numbered := *a
	numbered.Job = &Job{ID: "shop", TaskGroups: []TaskGroup{{Name: "web", Services: []Service{{Name: "fixed", PortLabel: "8080"}, {Name: "elsewhere", PortLabel: "53", Address: "192.0.2.1"}}}}}
	for i, want := range []string{"10.0.0.9 8080", "192.0.2.1 53"} {
		if got := Registrations(&numbered, n); len(got) != 2 || fmt.Sprint(got[i].Address, " ", got[i].Port) != want {
			t.Errorf("a port by its number: have %+v, want %s", got, want)
		}
	}
	if got := Registrations(&numbered, nil); len(got) != 1 || got[0].Port != 53 {
		t.Errorf("a port by its number, without the node: %+v", got)
	}
	if got := Registrations(a, nil); len(got) != 2 || got[0].Address != "10.0.0.4" {
		t.Errorf("without its node: %+v", got)
	}
	a.DesiredStatus = DesiredStop
	if got := Registrations(a, n); got != nil {
		t.Errorf("an allocation that should stop offers nothing, got %v", got)
	}
}

func FuzzInterpolate(f *testing.F) {
	a, n := instance()
	scope := a.TaskScope(n, "server", TaskDirs{})
	for _, text := range []string{"${NOMAD_JOB_ID}", `${env["X"]}`, "${${}}", "${a}$", "${LISTEN"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := scope.Interpolate(text); !strings.Contains(text, "${") && got != text {
			t.Errorf("%q became %q", text, got)
		}
	})
}
