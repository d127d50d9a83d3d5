package cluster

// JobSummary counts a job's allocations by group and status.
type JobSummary struct {
	JobID       string
	Namespace   string
	Summary     map[string]GroupSummary
	Children    ChildrenSummary // of a periodic or parameterized job
	Launches    *Launches       `json:",omitempty"` // of a periodic job, else nil
	CreateIndex uint64          // of the job
	ModifyIndex uint64          // of the last change of the counts
}

// GroupSummary counts the allocations that the state holds of one group, old versions and ended ones included.
// Queued are those that the newest evaluation could not place.
type GroupSummary struct {
	Queued   int
	Complete int
	Failed   int
	Running  int
	Starting int
	Lost     int
	Unknown  int
}

// ChildrenSummary counts the launches of a job by their status.
type ChildrenSummary struct{ Pending, Running, Dead int }

// Add counts one more launch.
func (c *ChildrenSummary) Add(status string) {
	switch status {
	case JobStatusPending:
		c.Pending++
	case JobStatusRunning:
		c.Running++
	case JobStatusDead:
		c.Dead++
	}
}
