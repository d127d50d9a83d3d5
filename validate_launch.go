package cluster

import (
	"slices"
	"strings"
)

// periodic checks when the job is launched by the clock. One that rests may be wrong.
func (v *validator) periodic() {
	p, at := v.job.Periodic, Path("periodic")
	if p == nil {
		return
	}
	v.check(v.job.RunsToEnd(), at, `Periodic can only be used with "batch" or "sysbatch" scheduler; write type = "batch"`)
	v.warn(v.job.ParameterizedJob != nil, at, "a job that is both periodic and parameterized is launched by dispatch alone")
	if !p.Enabled {
		return
	}
	v.check(p.Spec != "" || len(p.Specs) > 0, at, `Must specify a spec; write one such as crons = ["0 3 * * *"]`)
	v.check(p.Spec == "" || len(p.Specs) == 0, at, "Only cron or crons may be used; remove cron")
	v.check(p.SpecType == "cron", at, `Unknown periodic specification type %s; the only one is "cron"`, quote(p.SpecType))
	_, err := loadZone(p.TimeZone)
	v.check(err == nil, at.Field("time_zone"), "Invalid time zone: %v", err)
	v.check(len(p.Specs) <= maxCrons, at.Field("crons"), "The job has %d schedules, the limit is %d", len(p.Specs), maxCrons)
	if p.Spec != "" {
		v.cron(at.Field("cron"), p.Spec)
	}
	for _, spec := range p.Specs[:min(len(p.Specs), maxCrons)] {
		v.cron(at.Field("crons"), spec)
	}
}

func (v *validator) cron(at Path, spec string) {
	_, err := parseCron(spec)
	v.check(err == nil, at, "Invalid cron spec: %v", err)
	v.warn(err == nil && cronSurplus(spec), at, "the cron spec %s is longer than its 7 fields, or one @word: what comes after has no effect", quote(spec))
}

// parameterized checks what launches of the job bring.
func (v *validator) parameterized() {
	p, at := v.job.ParameterizedJob, Path("parameterized")
	for g := range v.job.TaskGroups {
		for t := range v.job.TaskGroups[g].Tasks {
			v.dispatchPayload(Path("").Label("group", v.job.TaskGroups[g].Name).Label("task", v.job.TaskGroups[g].Tasks[t].Name), &v.job.TaskGroups[g].Tasks[t])
		}
	}
	if p == nil {
		return
	}
	v.check(v.job.RunsToEnd(), at, `Parameterized job can only be used with "batch" or "sysbatch" scheduler; write type = "batch"`)
	var both []string
	for _, key := range p.MetaOptional {
		if slices.Contains(p.MetaRequired, key) && !slices.Contains(both, key) {
			both = append(both, key)
		}
	}
	v.check(len(both) == 0, at.Field("meta_optional"), "Required and optional meta keys should be disjoint. Following keys exist in both: %.200s", both)
}

func (v *validator) dispatchPayload(at Path, t *Task) {
	d := t.DispatchPayload
	if d == nil {
		return
	}
	at = at.Field("dispatch_payload")
	v.check(!escapes("task/local", d.File) && !strings.Contains(d.File, "\x00"), at.Field("file"), "Dispatch payload file %s is not inside of the task's folder local; write a path below it", quote(d.File))
	v.warn(d.File == "", at, "the payload is written to no file: write file")
	v.warn(v.job.ParameterizedJob == nil && !v.job.Dispatched, at, "the job is not parameterized, so there is no payload: the block has no effect")
	v.warn(v.job.ParameterizedJob != nil && v.job.ParameterizedJob.Payload == PayloadForbidden, at, "launches of the job may bring no payload: the block has no effect")
}
