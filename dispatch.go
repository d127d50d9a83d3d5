package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The values of ParameterizedJobConfig.Payload.
const (
	PayloadOptional  = "optional"
	PayloadRequired  = "required"
	PayloadForbidden = "forbidden"
)

const (
	// MaxPayload is how many bytes a launch of a parameterized job may bring.
	MaxPayload = 16 << 10
	// maxDispatchName bounds the prefix and the token of a launch.
	maxDispatchName = 128
)

// IsPeriodic reports whether the job has a schedule.
func (j *Job) IsPeriodic() bool { return j.Periodic != nil }

// IsParameterized reports whether the job is launched by "job dispatch". A launch of one keeps the block, but is none.
func (j *Job) IsParameterized() bool { return j.ParameterizedJob != nil && !j.Dispatched }

// IsTemplate reports whether the job runs nothing itself but is launched, by the clock or by hand, as jobs of its own.
func (j *Job) IsTemplate() bool { return j.IsPeriodic() || j.IsParameterized() }

// ByClock reports whether the clock launches the job. One that is also parameterized is not: its launches are.
func (j *Job) ByClock() bool {
	return j.IsPeriodic() && j.Periodic.Enabled && !j.Stop && !j.IsParameterized()
}

// PeriodicLaunch is the job that a slot of the job's schedule (in unix seconds) is launched as.
func (j *Job) PeriodicLaunch(slot int64) *Job {
	launch := j.launch(fmt.Sprintf("%s/periodic-%d", j.ID, slot))
	launch.Periodic = nil
	return launch
}

// launch is the job as a job of its own.
func (j *Job) launch(id string) *Job {
	launch := *j
	launch.ID, launch.Name, launch.ParentID = id, id, j.ID
	launch.DispatchIdempotencyToken, launch.VersionTag = "", nil
	return &launch
}

// Dispatch is what somebody who launches a parameterized job brings.
type Dispatch struct {
	Payload  []byte
	Meta     map[string]string
	Prefix   string // of the launch's name after "dispatch-"; "" for none
	Token    string // a launch with the same token is the same launch; "": each is another
	Priority int    // 1..100; 0 is the job's
}

// DispatchLaunch is the job that a dispatch is launched as. The random number goes into its ID.
func (j *Job) DispatchLaunch(d Dispatch, now time.Time, random uint32) (*Job, error) {
	if err := j.checkDispatch(d); err != nil {
		return nil, err
	}
	prefix := ""
	if d.Prefix != "" {
		prefix = d.Prefix + "-"
	}
	launch := j.launch(fmt.Sprintf("%s/dispatch-%s%d-%08x", j.ID, prefix, now.Unix(), random))
	launch.Dispatched, launch.DispatchIdempotencyToken, launch.Payload = true, d.Token, d.Payload
	if len(d.Meta) > 0 {
		launch.Meta = maps.Clone(j.Meta)
		if launch.Meta == nil {
			launch.Meta = map[string]string{}
		}
		maps.Copy(launch.Meta, d.Meta)
	}
	if d.Priority != 0 {
		launch.Priority = d.Priority
	}
	return launch, nil
}

// checkDispatch refuses what the job may not be launched with.
func (j *Job) checkDispatch(d Dispatch) error {
	refuse := func(format string, args ...any) error {
		return Errorf(CodeRejected, "dispatch job %s: "+format, append([]any{quote(j.ID)}, args...)...)
	}
	switch {
	case !j.IsParameterized():
		return refuse(`it is not a parameterized job; its file has no "parameterized" block`)
	case j.Stop:
		return refuse("it is stopped; submit it again with \"job run\"")
	case len(d.Payload) > MaxPayload:
		return Errorf(CodeTooLarge, "dispatch job %s: the payload exceeds the maximum size: %d bytes, the limit is %d", quote(j.ID), len(d.Payload), MaxPayload)
	case len(d.Payload) == 0 && j.ParameterizedJob.Payload == PayloadRequired:
		return refuse("it requires a payload, and there is none")
	case len(d.Payload) > 0 && j.ParameterizedJob.Payload == PayloadForbidden:
		return refuse("it forbids a payload")
	case d.Priority < 0 || d.Priority > 100:
		return Errorf(CodeInvalid, "dispatch job %s: the priority must be between 1 and 100, have %d", quote(j.ID), d.Priority)
	case len(d.Prefix) > maxDispatchName || strings.ContainsAny(d.Prefix, " \t\r\n\x00/"):
		return Errorf(CodeInvalid, "dispatch job %s: the ID prefix %s must have at most %d bytes, no spaces and no slashes", quote(j.ID), quote(d.Prefix), maxDispatchName)
	case len(d.Token) > maxDispatchName:
		return Errorf(CodeInvalid, "dispatch job %s: the idempotency token is %d bytes long, the limit is %d", quote(j.ID), len(d.Token), maxDispatchName)
	}
	var unknown, missing []string
	for _, key := range slices.Sorted(maps.Keys(d.Meta)) {
		if !slices.Contains(j.ParameterizedJob.MetaRequired, key) && !slices.Contains(j.ParameterizedJob.MetaOptional, key) {
			unknown = append(unknown, quote(key).String())
		}
	}
	for _, key := range j.ParameterizedJob.MetaRequired {
		if _, brought := d.Meta[key]; !brought {
			missing = append(missing, quote(key).String())
		}
	}
	switch {
	case len(unknown) > 0:
		return refuse("it takes no meta %s", strings.Join(unknown[:min(len(unknown), maxListed)], ", "))
	case len(missing) > 0:
		return refuse("it requires meta %s", strings.Join(missing, ", "))
	}
	return nil
}

// KeepLaunch gives a job that is registered what the servers know of it as a launch, which a user may not say: that of the
// job that it replaces, nil for none.
func (j *Job) KeepLaunch(old *Job) {
	if old == nil {
		old = new(Job)
	}
	j.ParentID, j.Dispatched, j.DispatchIdempotencyToken, j.Payload = old.ParentID, old.Dispatched, old.DispatchIdempotencyToken, old.Payload
}
