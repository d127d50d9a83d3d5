package cluster

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestAllocationSurvivesTheWire(t *testing.T) {
	job := DefaultJob(JobTypeService)
	job.ID, job.Name = "web", "web"
	group := DefaultGroup(&job)
	group.Name = "app"
	task := DefaultTask(&group)
	task.Name, task.Driver = "main", "raw_exec"
	group.Tasks = []Task{task}
	job.TaskGroups = []TaskGroup{group}
	want := &Allocation{
		ID: ID{1}, EvalID: ID{2}, NodeID: ID{3}, DeploymentID: ID{4}, Job: &job, NodeName: "n1", TaskGroup: "app",
		Ports: []AllocatedPort{{Label: "http", HostIP: "127.0.0.1", Value: 20001, To: 8080}},
		TaskStates: []TaskState{{Name: "main", StartedAt: 5, LastRestart: 6, Restarts: 2, State: TaskRunning, Events: []TaskEvent{
			{Type: EventReceived, Time: 3}, {Type: EventTerminated, Time: 4, Details: &EventDetails{ExitCode: 3, Signal: 9}}}}},
		Rare:        &AllocationRare{DesiredDescription: "why", PreviousAllocation: ID{9}},
		CreateIndex: 10, ModifyIndex: 12, AllocModifyIndex: 11, CreateTime: 100, ModifyTime: 200, HealthTime: 150,
		Passing: 3, Index: 2, DesiredStatus: DesiredStop, ClientStatus: ClientRunning, Health: HealthUnhealthy,
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Allocation
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&got, want) {
		t.Errorf("came back different:\n%+v\n%+v", got, *want)
	}
}
