package cluster

// PeriodicConfig makes a job a template that is launched by the clock.
type PeriodicConfig struct {
	// Enabled can be false to let it rest.
	Enabled bool `hcl:"enabled" default:"true"`
	// Spec is the older form of crons, for one.
	Spec string `hcl:"cron" deprecated:"write crons, a list"`
	// Specs are cron expressions of 5 to 7 fields, or such as @daily; the next launch is the earliest of all.
	Specs []string `hcl:"crons"`
	// SpecType is always "cron".
	SpecType string `hcl:"-" default:"cron"`
	// ProhibitOverlap skips a launch while the last one runs.
	ProhibitOverlap bool `hcl:"prohibit_overlap"`
	// TimeZone is the name of the time zone that the expressions are read in, such as Europe/Berlin.
	TimeZone string `hcl:"time_zone" default:"UTC"`
}

// ParameterizedJobConfig makes a job a template that is launched by "job dispatch".
type ParameterizedJobConfig struct {
	// Payload says whether a launch may or must bring one.
	Payload string `hcl:"payload" enum:"optional required forbidden" default:"optional"`
	// MetaRequired are the keys of meta that a launch must bring.
	MetaRequired []string `hcl:"meta_required"`
	// MetaOptional are the keys of meta that a launch may bring; a task sees the others as empty.
	MetaOptional []string `hcl:"meta_optional"`
}

// DispatchPayload is where a task finds the payload of a dispatched job.
type DispatchPayload struct {
	// File is a path in the task's folder local/.
	File string `hcl:"file"`
}

// JobVersionTag is the name that a user gave a version of a job.
type JobVersionTag struct {
	Name        string
	Description string
	TaggedTime  int64 // unix nanoseconds
}

// Multiregion is what a job asks of several regions; there is one.
type Multiregion struct {
	// Strategy is the order in which regions are updated.
	Strategy *MultiregionStrategy `hcl:"strategy,block"`
	// Regions are the regions.
	Regions []MultiregionRegion `hcl:"region,block"`
}

// MultiregionStrategy is the order in which regions are updated.
type MultiregionStrategy struct {
	// MaxParallel is how many regions at a time.
	MaxParallel int `hcl:"max_parallel"`
	// OnFailure is what a region's failure means for the others.
	OnFailure string `hcl:"on_failure"`
}

// MultiregionRegion is one of several regions of a job.
type MultiregionRegion struct {
	// Name is the region's.
	Name string `hcl:"name,label"`
	// Count replaces counts of 0.
	Count int `hcl:"count"`
	// Datacenters replace the job's.
	Datacenters []string `hcl:"datacenters"`
	// NodePool replaces the job's.
	NodePool string `hcl:"node_pool"`
	// Meta is laid over the job's.
	Meta map[string]string `hcl:"meta"`
}

// JobUI is for people who look at a job.
type JobUI struct {
	// Description is a text of at most 1000 characters.
	Description string `hcl:"description"`
	// Links lead to further pages.
	Links []JobUILink `hcl:"link,block"`
}

// JobUILink leads to a page.
type JobUILink struct {
	// Label is the link's text.
	Label string `hcl:"label"`
	// URL is where it leads.
	URL string `hcl:"url"`
}

// ScalingPolicy is within what bounds a count may be changed, and what an autoscaler should know.
type ScalingPolicy struct {
	// Min is the least, the group's count if it is not written.
	Min *int64 `hcl:"min"`
	// Max is the most.
	Max *int64 `hcl:"max,required"`
	// Enabled can be false to let the autoscaler rest.
	Enabled bool `hcl:"enabled" default:"true"`
	// Type is always "horizontal".
	Type string `hcl:"type" default:"horizontal"`
	// Policy is the autoscaler's own.
	Policy map[string]any `hcl:"policy,body"`
}

// TaskScalingPolicy is within what bounds a task's resources may be changed, and what an autoscaler should know.
type TaskScalingPolicy struct {
	// Label is "cpu" or "mem": what is scaled. A decoded policy has it as its type alone.
	Label string `hcl:"label,label" json:"-"`
	// Min is the least.
	Min *int64 `hcl:"min"`
	// Max is the most.
	Max *int64 `hcl:"max"`
	// Enabled can be false to let the autoscaler rest.
	Enabled *bool `hcl:"enabled"`
	// Type is vertical_cpu or vertical_mem, by the label.
	Type string `hcl:"type" enum:"vertical_cpu vertical_mem"`
	// Policy is the autoscaler's own.
	Policy map[string]any `hcl:"policy,body"`
}
