package cluster

import "time"

// The modes of RestartPolicy.
const (
	RestartModeFail  = "fail"  // more failures than attempts in the interval: the task has failed
	RestartModeDelay = "delay" // … : wait for the rest of the interval and go on
)

// RestartPolicy says how often a task that ended is started again on the same node.
type RestartPolicy struct {
	Attempts int           `hcl:"attempts"`
	Interval time.Duration `hcl:"interval"`
	Delay    time.Duration `hcl:"delay"`
	Mode     string        `hcl:"mode"`
}

// ReschedulePolicy says how a failed allocation is replaced by another.
type ReschedulePolicy struct {
	Attempts      int           `hcl:"attempts"`
	Interval      time.Duration `hcl:"interval"`
	Delay         time.Duration `hcl:"delay"`
	DelayFunction string        `hcl:"delay_function"` // constant, exponential or fibonacci
	MaxDelay      time.Duration `hcl:"max_delay"`
	Unlimited     bool          `hcl:"unlimited"`
}

// The ways an allocation of a deployment becomes healthy.
const (
	HealthCheckChecks     = "checks"      // tasks run and checks pass
	HealthCheckTaskStates = "task_states" // tasks run
)

// UpdateStrategy says how a changed job replaces what runs. MaxParallel 0 is "everything at once, without a deployment".
type UpdateStrategy struct {
	MaxParallel      int           `hcl:"max_parallel"`
	HealthCheck      string        `hcl:"health_check"`
	MinHealthyTime   time.Duration `hcl:"min_healthy_time"`
	HealthyDeadline  time.Duration `hcl:"healthy_deadline"`
	ProgressDeadline time.Duration `hcl:"progress_deadline"`
	Stagger          time.Duration `hcl:"stagger"` // kept for tools that read it; it has no effect
}

// MigrateStrategy says how the allocations of a drained node are replaced: at most MaxParallel instances of the group
// are without health at a time, and with 0 none moves before the drain's deadline.
type MigrateStrategy struct {
	MaxParallel     int           `hcl:"max_parallel"`
	HealthCheck     string        `hcl:"health_check"`
	MinHealthyTime  time.Duration `hcl:"min_healthy_time"`
	HealthyDeadline time.Duration `hcl:"healthy_deadline"`
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
	if jobType != JobTypeBatch {
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

// DefaultGroup is the group that a description in the given job (decoded but for its groups) is decoded over.
func DefaultGroup(j *Job) TaskGroup {
	g := TaskGroup{
		Count:         1,
		EphemeralDisk: EphemeralDisk{SizeMB: 300},
		RestartPolicy: RestartPolicy{Attempts: 2, Interval: 30 * time.Minute, Delay: 15 * time.Second, Mode: RestartModeFail},
	}
	if j.Type == JobTypeBatch {
		g.RestartPolicy.Attempts, g.RestartPolicy.Interval = 3, 24*time.Hour
		g.ReschedulePolicy = &ReschedulePolicy{Attempts: 1, Interval: 24 * time.Hour, Delay: 5 * time.Second, DelayFunction: "constant"}
		return g
	}
	update := j.Update
	g.Update = &update
	if j.Type == JobTypeService {
		g.ReschedulePolicy = &ReschedulePolicy{Delay: 30 * time.Second, DelayFunction: "exponential", MaxDelay: time.Hour, Unlimited: true}
		g.Migrate = &MigrateStrategy{MaxParallel: 1, HealthCheck: HealthCheckChecks, MinHealthyTime: 10 * time.Second, HealthyDeadline: 5 * time.Minute}
	}
	return g
}

// DefaultTask is the task that a description in the given group (decoded but for its tasks) is decoded over.
func DefaultTask(g *TaskGroup) Task {
	return Task{
		RestartPolicy: g.RestartPolicy,
		Resources:     Resources{CPU: 100, MemoryMB: 300},
		KillTimeout:   5 * time.Second,
		LogConfig:     LogConfig{MaxFiles: 10, MaxFileSizeMB: 10},
	}
}

// DefaultService is the service that a description is decoded over; a missing name is made up from the names around it.
func DefaultService() Service {
	return Service{Provider: ProviderConsul, AddressMode: "auto", OnUpdate: OnUpdateRequireHealthy, Cluster: "default"}
}

// DefaultCheck is the check that a description in the given service is decoded over.
func DefaultCheck(s *Service) Check { return Check{OnUpdate: s.OnUpdate} }
