package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/a43e60e4/cluster"
)

// ErrNewer is in the chain of the errors for commands and snapshots that a newer release wrote. Such a command
// must never have been written while a voter did not know it, so a store that meets one stops: see Store.Apply.
var ErrNewer = errors.New("written by a newer release: upgrade this server")

// kinds lists what this release reads: the newest version of each command (see versionOf for the one it writes), and a value to decode it into.
var kinds = [...]struct {
	name    string
	version byte
	make    func() Command
}{
	KindRegisterJob:       {"RegisterJob", 1, func() Command { return new(RegisterJob) }},
	KindDeregisterJob:     {"DeregisterJob", 1, func() Command { return new(DeregisterJob) }},
	KindUpsertEvals:       {"UpsertEvals", 1, func() Command { return new(UpsertEvals) }},
	KindCommitPlan:        {"CommitPlan", 2, func() Command { return new(CommitPlan) }},
	KindReportAllocs:      {"ReportAllocs", 1, func() Command { return new(ReportAllocs) }},
	KindStopAllocs:        {"StopAllocs", 1, func() Command { return new(StopAllocs) }},
	KindRegisterNode:      {"RegisterNode", 1, func() Command { return new(RegisterNode) }},
	KindNodeStatus:        {"NodeStatus", 2, func() Command { return new(NodeStatus) }},
	KindNodeEligibility:   {"NodeEligibility", 1, func() Command { return new(NodeEligibility) }},
	KindDeleteNode:        {"DeleteNode", 1, func() Command { return new(DeleteNode) }},
	KindUpsertDeployments: {"UpsertDeployments", 1, func() Command { return new(UpsertDeployments) }},
	KindUpsertNamespace:   {"UpsertNamespace", 1, func() Command { return new(UpsertNamespace) }},
	KindDeleteNamespace:   {"DeleteNamespace", 1, func() Command { return new(DeleteNamespace) }},
	KindSetMeta:           {"SetMeta", 1, func() Command { return new(SetMeta) }},
	KindReap:              {"Reap", 1, func() Command { return new(Reap) }},
	KindDrainNode:         {"DrainNode", 1, func() Command { return new(DrainNode) }},
	KindEndDrain:          {"EndDrain", 1, func() Command { return new(EndDrain) }},
	KindSwapMeta:          {"SwapMeta", 1, func() Command { return new(SwapMeta) }},
	KindLaunchJob:         {"LaunchJob", 1, func() Command { return new(LaunchJob) }},
	KindScaleJob:          {"ScaleJob", 1, func() Command { return new(ScaleJob) }},
	KindMarkVersion:       {"MarkVersion", 1, func() Command { return new(MarkVersion) }},
}

// String is the command's name.
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kinds) {
		return fmt.Sprintf("command kind %d", byte(k))
	}
	return kinds[k].name
}

// Encode is the form of the commands in one log entry; they are applied in order. Encoded entries may be joined
// by appending one to another. An entry of no commands is empty.
func Encode(commands ...Command) ([]byte, error) {
	var entry []byte
	for _, c := range commands {
		e := newEncoder(c.at())
		e.int(c.at())
		c.encode(e)
		if e.err != nil {
			return nil, fmt.Errorf("encode %s: %w", c.kind(), e.err)
		}
		entry = append(entry, byte(c.kind()), versionOf(c))
		entry = binary.AppendUvarint(entry, uint64(len(e.b)))
		entry = append(entry, e.b...)
	}
	return entry, nil
}

// versionOf is the version that a command is written in: the oldest one that can say it.
func versionOf(c Command) byte {
	if v, ok := c.(interface{ version() byte }); ok {
		return v.version()
	}
	return 1
}

// decodeEntry is the inverse of Encode. Without an interner every string is one of its own.
func decodeEntry(entry []byte, intern *interner) ([]Command, error) {
	var commands []Command
	for len(entry) > 0 {
		if len(entry) < 2 {
			return nil, errors.New("decode entry: input ends too early")
		}
		kind, version := Kind(entry[0]), entry[1]
		if kind == 0 || version == 0 {
			return nil, fmt.Errorf("decode entry: no command has kind %d, version %d", kind, version)
		}
		if int(kind) >= len(kinds) {
			return nil, fmt.Errorf("decode entry: %s is not known here: %w", kind, ErrNewer)
		}
		if version > kinds[kind].version {
			return nil, fmt.Errorf("decode entry: %s has version %d, this release knows up to %d: %w",
				kind, version, kinds[kind].version, ErrNewer)
		}
		length, n := binary.Uvarint(entry[2:])
		if n <= 0 || length > uint64(len(entry)-2-n) {
			return nil, fmt.Errorf("decode %s: input ends too early", kind)
		}
		body := entry[2+n:]
		body, entry = body[:length:length], body[length:]
		c, err := decodeCommand(kind, &decoder{b: body, version: version, intern: intern})
		if err != nil {
			return nil, fmt.Errorf("decode %s: %w", kind, err)
		}
		commands = append(commands, c)
	}
	return commands, nil
}

func decodeCommand(kind Kind, d *decoder) (Command, error) {
	c := kinds[kind].make()
	d.base = d.int()
	c.decode(d)
	if d.err == nil && len(d.b) > 0 {
		d.fail("%d bytes left over", len(d.b))
	}
	return c, d.err
}

func encodeOptional[T any](e *encoder, v *T, encode func(*encoder, *T)) {
	e.bool(v != nil)
	if v != nil {
		encode(e, v)
	}
}

func decodeOptional[T any](d *decoder, decode func(*decoder, *T)) *T {
	if !d.bool() {
		return nil
	}
	v := new(T)
	decode(d, v)
	return v
}

func (c *RegisterJob) encode(e *encoder) {
	e.bytes(c.RequestID)
	encodeJob(e, c.Job)
	encodeOptional(e, c.Eval, encodeEval)
	e.bool(c.EnforceIndex)
	e.uint(c.JobModifyIndex)
	encodeOptional(e, c.Source, encodeSubmission)
}

func (c *RegisterJob) decode(d *decoder) {
	c.At = d.base
	c.RequestID = string(d.bytes())
	c.Job = decodeJob(d)
	c.Eval = decodeOptional(d, decodeEval)
	c.EnforceIndex = d.bool()
	c.JobModifyIndex = d.uint()
	c.Source = decodeOptional(d, decodeSubmission)
}

func encodeSubmission(e *encoder, s *Submission) {
	e.bytes(s.Source)
	e.string(s.Format)
	encodeMap(e, s.VariableFlags, e.bytes)
	e.bytes(s.Variables)
}

func decodeSubmission(d *decoder, s *Submission) {
	s.Source = string(d.bytes())
	s.Format = d.string()
	s.VariableFlags = decodeMap(d, func() string { return string(d.bytes()) })
	s.Variables = string(d.bytes())
}

func (c *DeregisterJob) encode(e *encoder) {
	e.bytes(c.RequestID)
	e.string(c.Namespace)
	e.string(c.ID)
	e.bool(c.Purge)
	encodeOptional(e, c.Eval, encodeEval)
}

func (c *DeregisterJob) decode(d *decoder) {
	c.At = d.base
	c.RequestID = string(d.bytes())
	c.Namespace = d.string()
	c.ID = d.string()
	c.Purge = d.bool()
	c.Eval = decodeOptional(d, decodeEval)
}

func (c *UpsertEvals) encode(e *encoder) { encodeEvals(e, c.Evals) }
func (c *UpsertEvals) decode(d *decoder) { c.At, c.Evals = d.base, decodeEvals(d) }

func (c *ReportAllocs) encode(e *encoder) {
	encodeSlice(e, c.Updates, func(u *cluster.AllocUpdate) {
		e.rawID(u.ID)
		e.byte(byte(u.ClientStatus))
		e.string(u.ClientDescription)
		encodeTasks(e, u.TaskStates)
		e.byte(byte(u.Health))
		e.time(u.HealthTime)
		e.uint(u.Passing)
	})
	encodeEvals(e, c.Evals)
}

func (c *ReportAllocs) decode(d *decoder) {
	c.At = d.base
	c.Updates = decodeSlice(d, func(u *cluster.AllocUpdate) {
		u.ID = d.rawID()
		u.ClientStatus = cluster.ClientStatus(d.byte())
		u.ClientDescription = d.string()
		u.TaskStates = decodeTasks(d)
		u.Health = cluster.HealthStatus(d.byte())
		u.HealthTime = d.time()
		u.Passing = d.uint()
		if u.ClientStatus > cluster.ClientLost || u.Health > cluster.HealthUnhealthy {
			d.fail("client status %d or health %d is not known", u.ClientStatus, u.Health)
		}
	})
	c.Evals = decodeEvals(d)
}

func encodeStops(e *encoder, stops []cluster.Stop) {
	encodeSlice(e, stops, func(s *cluster.Stop) {
		e.rawID(s.ID)
		e.string(s.Description)
		e.bool(s.Lost)
	})
}

func decodeStops(d *decoder) []cluster.Stop {
	return decodeSlice(d, func(s *cluster.Stop) {
		*s = cluster.Stop{ID: d.rawID(), Description: d.string(), Lost: d.bool()}
	})
}

func encodeIDs(e *encoder, ids []cluster.ID) {
	encodeSlice(e, ids, func(id *cluster.ID) { e.rawID(*id) })
}

func decodeIDs(d *decoder) []cluster.ID {
	return decodeSlice(d, func(id *cluster.ID) { *id = d.rawID() })
}

func (c *StopAllocs) encode(e *encoder) {
	e.bytes(c.RequestID)
	encodeStops(e, c.Stops)
	encodeEvals(e, c.Evals)
}

func (c *StopAllocs) decode(d *decoder) {
	c.At = d.base
	c.RequestID = string(d.bytes())
	c.Stops = decodeStops(d)
	c.Evals = decodeEvals(d)
}

func (c *Reap) encode(e *encoder) {
	encodeIDs(e, c.Allocs)
	encodeIDs(e, c.Evals)
	encodeIDs(e, c.Deployments)
	encodeSlice(e, c.Jobs, func(k *cluster.JobKey) {
		e.string(k.Namespace)
		e.string(k.ID)
	})
	encodeIDs(e, c.Nodes)
}

func (c *Reap) decode(d *decoder) {
	c.At = d.base
	c.Allocs = decodeIDs(d)
	c.Evals = decodeIDs(d)
	c.Deployments = decodeIDs(d)
	c.Jobs = decodeSlice(d, func(k *cluster.JobKey) { k.Namespace, k.ID = d.string(), d.string() })
	c.Nodes = decodeIDs(d)
}
