package cluster

// KeptScalingEvents is how many events a job remembers of each group.
const KeptScalingEvents = 20

// ScalingEvent is what happened to a group's count: a change, or what an autoscaler notes about one.
type ScalingEvent struct {
	Time          int64  // unix nanoseconds
	Count         *int64 // what was asked for; nil: the event only says something
	PreviousCount int64  // at the time of the event
	Message       string
	Error         bool
	Meta          map[string]any
	EvalID        *ID // that of the change, nil if there was none
	CreateIndex   uint64
}

// CheckCount is an error of CodeInvalid if the group's scaling block does not allow the count, or none could.
func (g *TaskGroup) CheckCount(count int64) error {
	if count < 0 {
		return Errorf(CodeInvalid, "scale group %q: the count can't be negative, have %d", g.Name, count)
	}
	s := g.Scaling
	switch {
	case s == nil:
		return nil
	case s.Min != nil && count < *s.Min:
		return Errorf(CodeInvalid, "group count was less than scaling policy minimum: %d < %d (group %q)", count, *s.Min, g.Name)
	case s.Max != nil && count > *s.Max:
		return Errorf(CodeInvalid, "group count was greater than scaling policy maximum: %d > %d (group %q)", count, *s.Max, g.Name)
	}
	return nil
}
