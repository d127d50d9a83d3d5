package cluster

import "time"

// The modes of RestartPolicy.
const (
	RestartModeFail  = "fail"  // more failures than attempts in the interval: the task has failed
	RestartModeDelay = "delay" // … : wait for the rest of the interval and go on
)

// RestartPolicy says how often a task that ended is started again on the same node.
type RestartPolicy struct {
	// Attempts is how often within the interval; it is 3 for batch and sysbatch jobs, 2 for others.
	Attempts int `hcl:"attempts"`
	// Interval is the time in which attempts are counted; it is 24h for batch and sysbatch jobs, 30m for others.
	Interval time.Duration `hcl:"interval"`
	// Delay is the time between the end and the next start; up to a quarter is added by chance.
	Delay time.Duration `hcl:"delay"`
	// Mode is what follows when the attempts are used up: fail, and the instance is replaced elsewhere, or delay, and it goes on after the interval.
	Mode string `hcl:"mode" enum:"fail delay"`
	// RenderTemplates makes the templates anew at each restart.
	RenderTemplates bool `hcl:"render_templates,replace"`
}

// ReschedulePolicy says how a failed allocation is replaced by another.
type ReschedulePolicy struct {
	// Attempts is how often within the interval; it is 1 for batch jobs.
	Attempts int `hcl:"attempts"`
	// Interval is the time in which attempts are counted; it is 24h for batch jobs.
	Interval time.Duration `hcl:"interval"`
	// Delay is the time before the first replacement; it is 5s for batch jobs, 30s for service jobs.
	Delay time.Duration `hcl:"delay"`
	// DelayFunction is how the delay grows; it is constant for batch jobs, exponential for service jobs.
	DelayFunction string `hcl:"delay_function" enum:"constant exponential fibonacci"`
	// MaxDelay is how far the delay grows; it is 1h for service jobs.
	MaxDelay time.Duration `hcl:"max_delay"`
	// Unlimited is true for service jobs: attempts are not counted.
	Unlimited bool `hcl:"unlimited"`
}

// The ways an allocation of a deployment becomes healthy.
const (
	HealthCheckChecks     = "checks"      // tasks run and checks pass
	HealthCheckTaskStates = "task_states" // tasks run
	HealthCheckManual     = "manual"      // somebody says so
)

// UpdateStrategy says how a changed job replaces what runs.
type UpdateStrategy struct {
	// MaxParallel is how many instances are replaced at a time; 0 is all at once, without a deployment.
	MaxParallel int `hcl:"max_parallel"`
	// HealthCheck is what makes an instance healthy: checks that pass, tasks that run, or somebody's word.
	HealthCheck string `hcl:"health_check" enum:"checks task_states manual"`
	// MinHealthyTime is for how long an instance must be healthy before the next is replaced.
	MinHealthyTime time.Duration `hcl:"min_healthy_time"`
	// HealthyDeadline is after how long an instance that is not healthy yet has failed.
	HealthyDeadline time.Duration `hcl:"healthy_deadline"`
	// ProgressDeadline is after how long without a newly healthy instance the update has failed; 0: the first unhealthy one fails it.
	ProgressDeadline time.Duration `hcl:"progress_deadline"`
	// AutoRevert goes back to the last stable version when the update fails.
	AutoRevert bool `hcl:"auto_revert"`
	// AutoPromote promotes canaries when all are healthy.
	AutoPromote bool `hcl:"auto_promote"`
	// Canary is how many instances of the new version run beside the old ones until they are promoted.
	Canary int `hcl:"canary"`
	// Stagger is an old way to say how long an update waits between instances; min_healthy_time does.
	Stagger time.Duration `hcl:"stagger"`
}

// MigrateStrategy says how the allocations of a drained node are replaced.
type MigrateStrategy struct {
	// MaxParallel is how many instances of the group may be without health at a time; with 0 none moves before the drain's deadline.
	MaxParallel int `hcl:"max_parallel" default:"1"`
	// HealthCheck is what makes a replacement healthy.
	HealthCheck string `hcl:"health_check" enum:"checks task_states" default:"checks"`
	// MinHealthyTime is for how long a replacement must be healthy before the next instance moves.
	MinHealthyTime time.Duration `hcl:"min_healthy_time" default:"10s"`
	// HealthyDeadline is after how long the next instance moves all the same.
	HealthyDeadline time.Duration `hcl:"healthy_deadline" default:"5m"`
}

// DefaultJob is the job that a description of the given type is decoded over.
func DefaultJob(jobType string) Job {
	j := Job{
		Namespace:   DefaultNamespace,
		Region:      GlobalRegion,
		Type:        jobType,
		Priority:    50,
		Datacenters: []string{"*"},
		NodePool:    DefaultNodePool,
	}
	if !j.RunsToEnd() {
		j.Update = DefaultUpdate()
	}
	return j
}

// DefaultUpdate is the update strategy of service and system jobs.
func DefaultUpdate() UpdateStrategy {
	return UpdateStrategy{
		MaxParallel:      1,
		HealthCheck:      HealthCheckChecks,
		MinHealthyTime:   10 * time.Second,
		HealthyDeadline:  5 * time.Minute,
		ProgressDeadline: 10 * time.Minute,
		Stagger:          30 * time.Second,
	}
}

// RunsToEnd reports whether the job is done when its tasks are: batch and sysbatch.
func (j *Job) RunsToEnd() bool { return j.Type == JobTypeBatch || j.Type == JobTypeSysBatch }

// OnEveryNode reports whether the job has one instance on every fitting node: system and sysbatch.
func (j *Job) OnEveryNode() bool { return j.Type == JobTypeSystem || j.Type == JobTypeSysBatch }

// DefaultGroup is the group that a description in the given job (decoded but for its groups) is decoded over.
func DefaultGroup(j *Job) TaskGroup {
	g := defaults[TaskGroup]()
	g.Count = 1
	g.RestartPolicy = RestartPolicy{Attempts: 2, Interval: 30 * time.Minute, Delay: 15 * time.Second, Mode: RestartModeFail}
	if j.RunsToEnd() {
		g.RestartPolicy.Attempts, g.RestartPolicy.Interval = 3, 24*time.Hour
	} else {
		update := j.Update
		g.Update = &update
	}
	switch j.Type {
	case JobTypeBatch:
		g.ReschedulePolicy = &ReschedulePolicy{Attempts: 1, Interval: 24 * time.Hour, Delay: 5 * time.Second, DelayFunction: "constant"}
	case JobTypeService:
		g.ReschedulePolicy = &ReschedulePolicy{Delay: 30 * time.Second, DelayFunction: "exponential", MaxDelay: time.Hour, Unlimited: true}
		g.Migrate = new(defaults[MigrateStrategy]())
	}
	return g
}

// DefaultTask is the task that a description in the given group (decoded but for its tasks) is decoded over.
func DefaultTask(g *TaskGroup) Task {
	t := defaults[Task]()
	t.RestartPolicy = g.RestartPolicy
	t.Resources.CPU = 100
	return t
}

// DefaultService is the service that a description is decoded over; a missing name is made up from the names around it.
func DefaultService() Service { return defaults[Service]() }

// DefaultCheck is the check that a description in the given service is decoded over.
func DefaultCheck(s *Service) Check {
	check := Check{OnUpdate: s.OnUpdate}
	if s.CheckRestart != nil {
		check.CheckRestart = new(*s.CheckRestart)
	}
	return check
}
