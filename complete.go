package cluster

import (
	"slices"
	"strings"
)

// completeJob fills in what is derived from other fields, and gives values that mean the same one form.
func completeJob(j *Job) {
	setDefault(&j.Name, j.ID)
	if j.Priority == 0 {
		j.Priority = 50
	}
	for i := range j.TaskGroups {
		completeGroup(j, &j.TaskGroups[i])
	}
}

func setDefault(field *string, text string) {
	if *field == "" {
		*field = text
	}
}

func completeGroup(j *Job, g *TaskGroup) {
	if g.Disconnect == nil {
		g.Disconnect = g.olderDisconnect()
	}
	for i := range g.Networks {
		sortPorts(&g.Networks[i])
	}
	for i := range g.Services {
		completeService(&g.Services[i], j.Name, g.Name, "")
	}
	for t := range g.Tasks {
		task := &g.Tasks[t]
		for i := range task.Services {
			completeService(&task.Services[i], j.Name, g.Name, task.Name)
		}
	}
}

// sortPorts puts the ports with a host port into ReservedPorts and the others into DynamicPorts.
func sortPorts(n *Network) {
	all := slices.Concat(n.ReservedPorts, n.DynamicPorts)
	n.ReservedPorts, n.DynamicPorts = nil, nil
	for _, port := range all {
		if port.Value > 0 {
			n.ReservedPorts = append(n.ReservedPorts, port)
		} else {
			n.DynamicPorts = append(n.DynamicPorts, port)
		}
	}
}

func completeService(s *Service, job, group, task string) {
	if task == "" {
		setDefault(&s.Name, job+"-"+group)
		task = "group" // what ${TASK} means in the services of a group
	}
	base := job + "-" + group + "-" + task
	setDefault(&s.Name, base)
	if strings.Contains(base, "${") {
		return // such names are not valid, and replacing what they bring along would never end
	}
	s.Name = strings.NewReplacer("${JOB}", job, "${TASKGROUP}", group, "${TASK}", task, "${BASE}", base).Replace(s.Name)
}
