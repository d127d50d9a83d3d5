package cluster

// JobSummary counts a job's allocations by group and status.
type JobSummary struct {
	JobID       string
	Namespace   string
	Summary     map[string]GroupSummary
	CreateIndex uint64 // of the job
	ModifyIndex uint64 // of the last change of the counts
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
