package state

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/a43e60e4/cluster"
)

// A saved state is the magic, a format version and then frames: a kind byte, the length of the body as a varint, the
// body, and the CRC-32C of kind and body. A body is a base time, the number of its items and the items. Parts
// come in the order of their kinds, each in as many frames as it needs; a frame stands for itself, so that none needs
// much memory. Jobs, versions and nodes are numbered as they come, and later parts refer to the numbers.
const (
	magic         = "clusterS"
	formatVersion = 3         // the newest that is read; see Snapshot.format for the one that is written
	fullFrame     = 128 << 10 // a frame is closed when it is longer
	longestFrame  = 64 << 20  // a longer one is not read
)

type frameKind byte

const (
	frameHead frameKind = iota + 1
	frameNamespaces
	frameMeta
	frameRequests
	frameNodes
	frameJobs
	frameVersions
	frameEvals
	frameDeployments
	frameAllocs
	frameServices
	frameEnd
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// saver writes frames. After the first fault it writes nothing more.
type saver struct {
	out    io.Writer
	format byte
	kind   frameKind
	e      *encoder
	items  int
	frames uint64
	err    error
}

// item begins an item of the given kind, made at about the given time; the caller writes it with the encoder.
func (s *saver) item(kind frameKind, time int64) *encoder {
	if s.e != nil && (s.kind != kind || len(s.e.b) > fullFrame) {
		s.flush()
	}
	if s.e == nil {
		s.kind, s.e = kind, newEncoder(time)
	}
	s.items++
	return s.e
}

func (s *saver) flush() {
	if s.e == nil || s.err != nil {
		return
	}
	if s.e.err != nil {
		s.err = s.e.err
		return
	}
	head := binary.AppendVarint(nil, s.e.base)
	head = binary.AppendUvarint(head, uint64(s.items))
	frame := append([]byte{byte(s.kind)}, binary.AppendUvarint(nil, uint64(len(head)+len(s.e.b)))...)
	frame = append(frame, head...)
	sum := crc32.Update(crc32.Checksum([]byte{byte(s.kind)}, castagnoli), castagnoli, head)
	sum = crc32.Update(sum, castagnoli, s.e.b)
	tail := binary.LittleEndian.AppendUint32(nil, sum)
	for _, part := range [][]byte{frame, s.e.b, tail} {
		if _, err := s.out.Write(part); err != nil {
			s.err = err
			return
		}
	}
	s.e, s.items = nil, 0
	s.frames++
}

// Persist writes the whole state in a form that Restore reads; equal states are written alike. It may run
// while the store goes on.
func (sn *Snapshot) Persist(out io.Writer) error {
	s := &saver{out: out, format: sn.format()}
	if _, err := io.WriteString(out, magic+string(rune(s.format))); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	sn.saveSmall(s)
	nodes := sn.saveNodes(s)
	versions := sn.saveJobs(s)
	for eval := range sn.Evals() {
		encodeEval(s.item(frameEvals, eval.ModifyTime), eval)
	}
	for d := range sn.Deployments() {
		encodeDeployment(s.item(frameDeployments, d.ModifyTime), d)
	}
	for a := range sn.Allocs() {
		node := nodes[a.NodeID]
		encodeAlloc(s.item(frameAllocs, a.ModifyTime), a, node.number, versions[a.Job], node.name)
	}
	for key, entry := range sn.services.all() {
		e := s.item(frameServices, 0)
		e.string(key.namespace)
		e.string(key.name)
		e.uint(entry.changed)
	}
	s.flush()
	s.item(frameEnd, 0).uint(s.frames)
	s.flush()
	if s.err != nil {
		return fmt.Errorf("save state: %w", s.err)
	}
	return nil
}

// format is the version that the state is written in: the oldest one that can say it, so that servers of the release
// before go on reading what needs nothing new. The first did not know launches, the second
// not what happened to the counts of groups.
func (sn *Snapshot) format() byte {
	format := byte(1)
	for _, number := range sn.jobNumbers.all() {
		switch entry := sn.jobs.at(number); {
		case len(entry.scaling) > 0:
			return 3
		case entry.launches != nil:
			format = 2
		}
	}
	for _, r := range sn.requests.all() {
		if r.result.LaunchID != "" {
			return 2
		}
	}
	return format
}

func (sn *Snapshot) saveSmall(s *saver) {
	e := s.item(frameHead, 0)
	e.uint(sn.index)
	e.uint(uint64(tables))
	for _, t := range sn.tables {
		e.uint(t.changed)
		e.uint(t.removed)
	}
	for ns := range sn.Namespaces() {
		encodeNamespace(s.item(frameNamespaces, 0), ns)
	}
	for key, entry := range sn.meta.all() {
		e := s.item(frameMeta, 0)
		e.string(key)
		e.bytes(string(entry.value))
		e.uint(entry.index)
	}
	for id, r := range sn.requests.all() {
		e := s.item(frameRequests, r.at)
		e.bytes(id)
		e.time(r.at)
		e.uint(r.result.Index)
		e.uint(r.result.JobModifyIndex)
		e.rawID(r.result.EvalID)
		e.bool(r.result.NewVersion)
		encodeIDs(e, r.result.Unknown)
		if s.format >= 2 {
			e.string(r.result.LaunchID)
		}
	}
}

// numberedNode is a node as allocations refer to it.
type numberedNode struct {
	number uint64
	name   string
}

func (sn *Snapshot) saveNodes(s *saver) map[cluster.ID]numberedNode {
	numbers := make(map[cluster.ID]numberedNode)
	for id, number := range sn.nodeNumbers.all() {
		entry := sn.nodes.at(number)
		e := s.item(frameNodes, 0)
		e.rawID(id)
		encodeOptional(e, entry.node, encodeNode)
		e.uint(entry.changed)
		e.uint(entry.allocsChanged)
		saved := numberedNode{number: uint64(len(numbers))}
		if entry.node != nil {
			saved.name = entry.node.Name
		}
		numbers[id] = saved
	}
	return numbers
}

func (sn *Snapshot) saveJobs(s *saver) map[*cluster.Job]uint64 {
	job := uint64(0)
	for key, number := range sn.jobNumbers.all() {
		entry := sn.jobs.at(number)
		e := s.item(frameJobs, 0)
		e.string(key.Namespace)
		e.string(key.ID)
		e.bool(entry.job != nil)
		for _, index := range entry.changed {
			e.uint(index)
		}
		if s.format >= 2 {
			encodeOptional(e, entry.launches, encodeLaunches)
		}
		if s.format >= 3 {
			encodeMap(e, entry.scaling, func(events []cluster.ScalingEvent) { encodeScalingEvents(e, events) })
		}
	}
	versions := make(map[*cluster.Job]uint64)
	for _, number := range sn.jobNumbers.all() {
		entry := sn.jobs.at(number)
		for i := range entry.versions {
			v := &entry.versions[i]
			e := s.item(frameVersions, v.spec.SubmitTime)
			e.uint(job)
			spec := *v.spec
			spec.VersionTag = v.job.VersionTag
			encodeJob(e, &spec)
			e.string(v.job.Status)
			e.string(v.job.StatusDescription)
			e.bool(v.job.Stable)
			e.uint(v.job.ModifyIndex)
			encodeOptional(e, v.source, encodeSubmission)
			versions[v.spec] = uint64(len(versions))
		}
		job++
	}
	return versions
}

// Which rare parts of an allocation follow.
const (
	allocDeployment = 1 << iota
	allocRare
	allocHealth
	allocPassing
	allocNodeName // differs from the node's
)

func encodeAlloc(e *encoder, a *cluster.Allocation, node, version uint64, nodeName string) {
	flags := byte(0)
	for i, set := range [...]bool{!a.DeploymentID.IsZero(), a.Rare != nil, a.Health != 0 || a.HealthTime != 0, a.Passing != 0, a.NodeName != nodeName} {
		if set {
			flags |= 1 << i
		}
	}
	e.byte(flags)
	e.rawID(a.ID)
	e.id(a.EvalID)
	e.uint(node)
	e.uint(version)
	e.uint(groupNumber(a))
	e.int(int64(a.Index))
	e.byte(byte(a.ClientStatus) | byte(a.DesiredStatus)<<4)
	e.uint(a.CreateIndex)
	e.uint(a.ModifyIndex - a.CreateIndex)
	e.uint(a.AllocModifyIndex - a.CreateIndex)
	e.int(a.CreateTime - e.base)
	e.int(a.ModifyTime - e.base)
	if flags&allocDeployment != 0 {
		e.id(a.DeploymentID)
	}
	if flags&allocRare != 0 {
		encodeRare(e, a.Rare)
	}
	if flags&allocHealth != 0 {
		e.byte(byte(a.Health))
		e.time(a.HealthTime)
	}
	if flags&allocPassing != 0 {
		e.uint(a.Passing)
	}
	if flags&allocNodeName != 0 {
		e.string(a.NodeName)
	}
	encodePorts(e, a.Ports)
	encodeTasks(e, a.TaskStates)
}

// groupNumber is the place of an allocation's group in its job.
func groupNumber(a *cluster.Allocation) uint64 {
	for i := range a.Job.TaskGroups {
		if a.Job.TaskGroups[i].Name == a.TaskGroup {
			return uint64(i)
		}
	}
	panic("state: allocation " + a.ID.String() + " has no group " + a.TaskGroup)
}

func decodeAlloc(d *decoder, nodes []*nodeEntry, versions []*version) *cluster.Allocation {
	flags := d.byte()
	a := &cluster.Allocation{ID: d.rawID(), EvalID: d.id()}
	node, v, group := d.uint(), d.uint(), d.uint()
	if node >= uint64(len(nodes)) || v >= uint64(len(versions)) || group >= uint64(len(versions[v].spec.TaskGroups)) {
		d.fail("allocation %s refers to node %d, job version %d, group %d", a.ID, node, v, group)
		return nil
	}
	a.NodeID = nodes[node].id
	a.Job = versions[v].spec
	a.TaskGroup = a.Job.TaskGroups[group].Name
	a.Index = d.small()
	status := d.byte()
	a.ClientStatus, a.DesiredStatus = cluster.ClientStatus(status&15), cluster.DesiredStatus(status>>4)
	if a.ClientStatus > cluster.ClientUnknown || a.DesiredStatus > cluster.DesiredEvict {
		d.fail("allocation %s has status %#x", a.ID, status)
		return nil
	}
	a.CreateIndex = d.uint()
	a.ModifyIndex = a.CreateIndex + d.uint()
	a.AllocModifyIndex = a.CreateIndex + d.uint()
	a.CreateTime = d.int() + d.base
	a.ModifyTime = d.int() + d.base
	if flags&allocDeployment != 0 {
		a.DeploymentID = d.id()
	}
	if flags&allocRare != 0 {
		a.Rare = decodeRare(d)
	}
	if flags&allocHealth != 0 {
		a.Health, a.HealthTime = cluster.HealthStatus(d.byte()), d.time()
	}
	if flags&allocPassing != 0 {
		a.Passing = d.uint()
	}
	if nodes[node].node != nil {
		a.NodeName = nodes[node].node.Name
	}
	if flags&allocNodeName != 0 {
		a.NodeName = d.string()
	}
	a.Ports = decodePorts(d)
	a.TaskStates = decodeTasks(d)
	return a
}

func encodeRare(e *encoder, r *cluster.AllocationRare) {
	e.string(r.DesiredDescription)
	e.string(r.ClientDescription)
	e.id(r.PreviousAllocation)
	e.id(r.NextAllocation)
	e.id(r.FollowupEvalID)
	encodeReschedules(e, r.Reschedules)
}

func decodeRare(d *decoder) *cluster.AllocationRare {
	return &cluster.AllocationRare{
		DesiredDescription: d.string(), ClientDescription: d.string(),
		PreviousAllocation: d.id(), NextAllocation: d.id(), FollowupEvalID: d.id(),
		Reschedules: decodeReschedules(d),
	}
}
