package server

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/state"
)

const (
	// launchPause is the shortest time between two looks at the schedules, of which a busy cluster has many.
	launchPause = 20 * time.Millisecond
	// longestSleep is how long the leader trusts its timer, which does not see that the clock was set or the machine slept.
	longestSleep = 30 * time.Second
	// launchRetry is after how long a job that could not be launched is tried again.
	launchRetry = 5 * time.Second
	// launchesInFlight bounds how many jobs are launched at once. Most of a launch's time is the wait for its commit.
	launchesInFlight = 64
)

// schedules are the schedules that have been read, by job. Losing them costs reading them again.
type schedules map[cluster.JobKey]schedule

type schedule struct {
	job      *cluster.Job
	launches *cluster.Launches
	slots    *cluster.Schedule
	next     time.Time // when there is something to do; zero: never
	seen     time.Time // when next was found
}

// drivePeriodic launches periodic jobs when their time has come, until ctx ends. What was launched is in the state alone.
func (s *Server) drivePeriodic(ctx context.Context) error {
	known := schedules{}
	for ctx.Err() == nil {
		snapshot, now := s.Snapshot(), time.Now()
		due, next := known.due(snapshot, now, s.logger)
		group := new(errgroup.Group)
		group.SetLimit(launchesInFlight)
		failed := make([]bool, len(due))
		for i, plan := range due {
			group.Go(func() error {
				failed[i] = !s.launchPeriodic(ctx, snapshot, plan, now)
				return nil
			})
		}
		group.Wait()
		if slices.Contains(failed, true) {
			next = earlier(next, now.Add(launchRetry))
		} else if len(due) > 0 {
			continue
		}
		if len(known) > 0 {
			pause(ctx, launchPause)
			next = earlier(next, now.Add(longestSleep))
		}
		s.await(ctx, snapshot.Index(), next, nil, state.TableKey(state.Jobs))
	}
	return nil
}

// turn is a job whose turn it is.
type turn struct {
	job *cluster.Job
	cluster.Turn
}

// due are the jobs to do something about now, and when there will be some without any change.
func (known schedules) due(snapshot *state.Snapshot, now time.Time, log *slog.Logger) (due []turn, next time.Time) {
	there := map[cluster.JobKey]bool{}
	for job, launches := range snapshot.ByClock() {
		key := job.Key()
		there[key] = true
		s, read := known[key]
		same := read && s.job == job && s.launches == launches
		if !same || s.slots == nil {
			slots := s.slots
			if !read || s.job.JobModifyIndex != job.JobModifyIndex || s.job.CreateIndex != job.CreateIndex {
				var err error
				if slots, err = job.Periodic.Schedule(); err != nil { // at its registration it could be read
					log.Warn("job is not launched: its schedule cannot be read here", "job", job.ID, "err", err)
				}
			}
			s = schedule{job: job, launches: launches, slots: slots}
			same = false
		}
		if s.slots == nil {
			known[key] = s
			continue
		}
		back := now.Before(s.seen) // the clock was set
		if !same || back || !s.next.IsZero() && !now.Before(s.next) {
			t := launches.Turn(s.slots, now)
			s.next, s.seen = t.Next, now
			if t.After != nil {
				due = append(due, turn{job, t})
				s.next = now // until it is done
			}
		}
		known[key] = s
		if !s.next.IsZero() && s.next.After(now) {
			next = earlier(next, s.next)
		}
	}
	for key := range known {
		if !there[key] {
			delete(known, key)
		}
	}
	return due, next
}

// launchPeriodic does what the turn says, and reports whether that went well: another may have done it before.
func (s *Server) launchPeriodic(ctx context.Context, snapshot *state.Snapshot, t turn, now time.Time) bool {
	command := &state.LaunchJob{At: now.UnixNano(), Namespace: t.job.Namespace, ParentID: t.job.ID, CreateIndex: t.job.CreateIndex, Launches: t.After}
	log := s.logger.With("job", t.job.ID)
	switch {
	case t.Restated:
		log.Warn("schedule begins in the future, as if a clock had been ahead: it begins now", "until", time.Unix(0, snapshot.Launches(t.job.Namespace, t.job.ID).Since))
	case t.job.Periodic.ProhibitOverlap && overlaps(snapshot, t.job):
		log.Info("launch skipped: the one before has not ended", "slot", time.Unix(t.Slot, 0).UTC())
		command.Launches = t.Skip()
	default:
		command.Job = t.job.PeriodicLaunch(t.Slot)
		if !command.Job.IsTemplate() {
			eval := newEval(cluster.IDFrom(dice(), 0), command.Job, cluster.TriggerPeriodicJob, now)
			command.Eval = &eval
		}
	}
	if t.Missed > 0 {
		log.Warn("launches missed", "objects", t.Missed, "slot", time.Unix(t.Range.From, 0).UTC(), "until", time.Unix(t.Range.To, 0).UTC())
	}
	_, err := s.Apply(ctx, command)
	if err != nil && cluster.CodeOf(err) != cluster.CodeConflict && ctx.Err() == nil {
		log.Warn("launch failed, trying again", "err", err)
		return false
	}
	return true
}

// overlaps reports whether a launch of the job has not ended. One that was stopped has when its tasks have.
func overlaps(snapshot *state.Snapshot, job *cluster.Job) bool {
	for launch := range snapshot.Launched(job.Namespace, job.ID) {
		if launch.Status != cluster.JobStatusDead {
			return true
		}
		for alloc := range snapshot.AllocsByJob(launch.Namespace, launch.ID) {
			if alloc.Occupies() {
				return true
			}
		}
	}
	return false
}
