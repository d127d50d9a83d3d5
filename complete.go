package cluster

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// completeJob fills in what is derived from other fields, and gives values that mean the same one form.
func completeJob(j *Job, draft bool) {
	setDefault(&j.Name, j.ID)
	if j.Priority == 0 {
		j.Priority = 50
	}
	for i := range j.TaskGroups {
		completeGroup(j, &j.TaskGroups[i], draft)
	}
	if !draft {
		j.completeNames()
	}
}

func setDefault(field *string, text string) {
	if *field == "" {
		*field = text
	}
}

func completeGroup(j *Job, g *TaskGroup, draft bool) {
	if g.Disconnect == nil && !draft {
		g.Disconnect = g.olderDisconnect(j.OnEveryNode())
	}
	if s := g.Scaling; s != nil {
		if s.Min == nil {
			s.Min = new(int64(g.Count))
		}
	}
	for i := range g.Networks {
		sortPorts(&g.Networks[i])
	}
	for i := range g.Services {
		setDefault(&g.Services[i].Name, serviceBase(j, g, nil))
	}
	for t := range g.Tasks {
		completeTask(&g.Tasks[t])
		for i := range g.Tasks[t].Services {
			setDefault(&g.Tasks[t].Services[i].Name, serviceBase(j, g, &g.Tasks[t]))
		}
	}
}

// scalingTypes are the types of a task's scaling policies by their labels.
var scalingTypes = map[string]string{"cpu": "vertical_cpu", "mem": "vertical_mem"}

func completeTask(t *Task) {
	for i := range t.Resources.Networks {
		sortPorts(&t.Resources.Networks[i])
	}
	if enabled := t.LogConfig.Enabled; enabled != nil {
		t.LogConfig.Disabled, t.LogConfig.Enabled = !*enabled, nil
	}
	for i := range t.Artifacts {
		completeArtifact(&t.Artifacts[i])
	}
	for i := range t.Templates {
		completeTemplate(&t.Templates[i])
	}
	for i := range t.ScalingPolicies {
		s := &t.ScalingPolicies[i]
		setDefault(&s.Type, cmp.Or(scalingTypes[s.Label], s.Label))
		s.Label = ""
	}
	if own := t.ownIdentities(); len(own) == 1 { // of several none is it: see Validate
		t.Identity = new(t.Identities[own[0]])
		if t.Identities = slices.Delete(t.Identities, own[0], own[0]+1); len(t.Identities) == 0 {
			t.Identities = nil
		}
	}
	if v := t.Vault; v != nil {
		v.ChangeSignal = changeSignal(v.ChangeMode, v.ChangeSignal)
	}
}

// ownIdentities are the places of those that are the task's own, and belong into Identity.
func (t *Task) ownIdentities() []int {
	var own []int
	for i, w := range t.Identities {
		if w.Name == "" || w.Name == DefaultIdentity {
			own = append(own, i)
		}
	}
	return own
}

// completeArtifact says where an artifact goes: a file keeps the last part of its address as its name.
func completeArtifact(a *Artifact) {
	if a.RelativeDest != "" {
		return
	}
	a.RelativeDest = "local/"
	if a.GetterMode == "file" {
		source, _, _ := strings.Cut(a.GetterSource, "?")
		a.RelativeDest += path.Base(source)
	}
}

func completeTemplate(t *Template) {
	t.ChangeSignal = changeSignal(t.ChangeMode, t.ChangeSignal)
}

// changeSignal is the signal that a change is told by.
func changeSignal(mode, signal string) string {
	if signal == "" && mode == "signal" {
		return "SIGHUP"
	}
	return strings.ToUpper(signal)
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

// serviceBase is the name of a service that has none: the names around it. The task is nil for a service of the group.
func serviceBase(j *Job, g *TaskGroup, t *Task) string {
	base := j.Name + "-" + g.Name
	if t != nil {
		base += "-" + t.Name
	}
	return base
}

// completeNames replaces the words that stand for names around a service in the service's name.
func (j *Job) completeNames() {
	for i := range j.TaskGroups {
		g := &j.TaskGroups[i]
		for s := range g.Services {
			replaceWords(&g.Services[s], j.Name, g.Name, "group")
		}
		for t := range g.Tasks {
			for s := range g.Tasks[t].Services {
				replaceWords(&g.Tasks[t].Services[s], j.Name, g.Name, g.Tasks[t].Name)
			}
		}
	}
}

func replaceWords(s *Service, job, group, task string) {
	base := job + "-" + group + "-" + task
	if strings.Contains(base, "${") {
		return // such names are not valid, and replacing what they bring along would never end
	}
	s.Name = strings.NewReplacer("${JOB}", job, "${TASKGROUP}", group, "${TASK}", task, "${BASE}", base).Replace(s.Name)
	setDefault(&s.Name, base) // where what the words stand for is empty
}
