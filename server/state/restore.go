package state

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"

	"github.com/a43e60e4/cluster"
)

// maxSlots bounds what a damaged slot number can cost.
const maxSlots = 1 << 26

// Restore replaces the whole state by a saved one and makes all waiters return. When it fails, for whatever reason,
// nothing has changed.
func (s *Store) Restore(in io.Reader) error {
	w, err := load(in)
	if err != nil {
		return fmt.Errorf("restore state: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w, s.frozen = w, nil
	s.published.Store(w.publish())
	s.watch.rouseAll()
	return nil
}

// loader builds a writer from frames.
type loader struct {
	w        *writer
	format   byte
	tables   [tables]tableIndex
	last     frameKind
	frames   uint64
	ended    bool
	nodes    []*nodeEntry
	jobs     []*jobEntry
	present  []bool // jobs that are registered
	versions []*version
	ahead    []*allocFrame // being decoded, in their order
}

func load(in io.Reader) (*writer, error) {
	r := bufio.NewReaderSize(in, 256<<10)
	head := make([]byte, len(magic)+1)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:len(magic)]) != magic {
		return nil, errors.New("this is not a saved state")
	}
	if v := head[len(magic)]; v > formatVersion {
		return nil, fmt.Errorf("its format has version %d, this release knows up to %d: %w", v, formatVersion, ErrNewer)
	}
	l := &loader{w: newWriter(), format: head[len(magic)]}
	l.w.namespaces.remove(cluster.DefaultNamespace)
	var frame bytes.Buffer
	for !l.ended {
		kind, err := readFrame(r, &frame)
		if err == nil {
			err = l.frame(kind, frame.Bytes())
		}
		if err != nil {
			l.link(0)
			return nil, err
		}
	}
	return l.finish()
}

// readFrame reads the next frame's body into the buffer, and verifies it.
func readFrame(r *bufio.Reader, frame *bytes.Buffer) (frameKind, error) {
	kind, err := r.ReadByte()
	if err != nil {
		return 0, cut(err)
	}
	length, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, cut(err)
	}
	if length > longestFrame {
		return 0, fmt.Errorf("a part of %d bytes is longer than any that is written: the saved state is damaged", length)
	}
	frame.Reset()
	if _, err := io.CopyN(frame, r, int64(length)); err != nil {
		return 0, cut(err)
	}
	var tail [4]byte
	if _, err := io.ReadFull(r, tail[:]); err != nil {
		return 0, cut(err)
	}
	sum := crc32.Update(crc32.Checksum([]byte{kind}, castagnoli), castagnoli, frame.Bytes())
	if sum != binary.LittleEndian.Uint32(tail[:]) {
		return 0, errors.New("a checksum does not match: the saved state is damaged")
	}
	return frameKind(kind), nil
}

// cut says in words that the input ended where it should not.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the saved state ends too early")
	}
	return err
}

func (l *loader) frame(kind frameKind, body []byte) error {
	if kind < l.last || kind == 0 || kind > frameEnd || l.last == 0 && kind != frameHead {
		return fmt.Errorf("a part of kind %d after one of kind %d: the saved state is damaged", kind, l.last)
	}
	l.last = kind
	if kind == frameAllocs {
		l.frames++
		return l.decodeAhead(body)
	}
	if err := l.link(0); err != nil {
		return err
	}
	if err := decodeFrame(kind, body, &decoder{intern: &l.w.intern, version: l.format}, func(d *decoder) { l.item(kind, d) }); err != nil {
		return err
	}
	l.frames++
	return nil
}

// decodeFrame reads the items of a frame with a new decoder.
func decodeFrame(kind frameKind, body []byte, d *decoder, item func(*decoder)) error {
	d.b = body
	d.base = d.int()
	for range d.count() {
		if d.err != nil {
			break
		}
		item(d)
	}
	if d.err == nil && len(d.b) > 0 {
		d.fail("%d bytes left over", len(d.b))
	}
	if d.err != nil {
		return fmt.Errorf("read part of kind %d: %w", kind, d.err)
	}
	return nil
}

// allocFrame is a frame of allocations that a goroutine of its own decodes: they are most of a state, and
// depend on nothing but the nodes and versions before them.
type allocFrame struct {
	allocs []*cluster.Allocation
	err    error
	done   chan struct{}
}

// decodeAhead begins to decode a frame of allocations, and stores those that were begun long before.
func (l *loader) decodeAhead(body []byte) error {
	f := &allocFrame{done: make(chan struct{})}
	body = bytes.Clone(body)
	nodes, versions, format := l.nodes, l.versions, l.format
	go func() {
		defer close(f.done)
		f.err = decodeFrame(frameAllocs, body, &decoder{intern: new(interner), version: format}, func(d *decoder) {
			f.allocs = append(f.allocs, decodeAlloc(d, nodes, versions))
		})
	}()
	l.ahead = append(l.ahead, f)
	return l.link(runtime.GOMAXPROCS(0))
}

// link waits for frames of allocations and stores them in their order, until no more than the given number are left.
// After a fault it waits for all.
func (l *loader) link(left int) error {
	var err error
	for len(l.ahead) > left || err != nil && len(l.ahead) > 0 {
		f := l.ahead[0]
		l.ahead = l.ahead[1:]
		<-f.done
		if err == nil {
			err = f.err
		}
		for _, a := range f.allocs {
			if err != nil {
				break
			}
			err = l.store(a)
		}
	}
	return err
}

// store stores an allocation, if its slot is free.
func (l *loader) store(a *cluster.Allocation) error {
	if slot := a.ID.Slot(); slot >= maxSlots || l.w.allocs.at(slot) != nil {
		return fmt.Errorf("allocation %s has slot %d, which is taken or too high", a.ID, slot)
	}
	l.w.link(a)
	return nil
}

func (l *loader) item(kind frameKind, d *decoder) {
	switch kind {
	case frameHead:
		l.loadHead(d)
	case frameNamespaces:
		ns := decodeNamespace(d)
		l.w.namespaces.set(ns.Name, ns)
	case frameMeta:
		key := d.string()
		value := metaEntry{slices.Clone(d.bytes()), d.uint()}
		l.w.meta.set(key, value)
		if key == MetaTrackedVersions {
			l.w.trackedVersions = readTracked(value.value)
		}
	case frameRequests:
		l.loadRequest(d)
	case frameNodes:
		l.loadNode(d)
	case frameJobs:
		l.loadJob(d)
	case frameVersions:
		l.loadVersion(d)
	case frameEvals:
		l.loadEval(d)
	case frameDeployments:
		l.loadDeployment(d)
	case frameServices:
		l.loadService(d)
	case frameEnd:
		if frames := d.uint(); frames != l.frames {
			d.fail("%d parts were written, %d are here", frames, l.frames)
		}
		l.ended = true
	}
}

func (l *loader) loadHead(d *decoder) {
	l.w.index = d.uint()
	if n := d.uint(); n != uint64(tables) {
		d.fail("%d tables, not %d", n, tables)
		return
	}
	for i := range l.tables {
		l.tables[i] = tableIndex{d.uint(), d.uint()}
	}
}

func (l *loader) loadRequest(d *decoder) {
	id := string(d.bytes())
	r := remembered{at: d.time()}
	r.result.Index = d.uint()
	r.result.JobModifyIndex = d.uint()
	r.result.EvalID = d.rawID()
	r.result.NewVersion = d.bool()
	r.result.Unknown = decodeIDs(d)
	if d.version >= 2 {
		r.result.LaunchID = d.string()
	}
	l.w.requests.set(id, r)
	l.w.requestAges = append(l.w.requestAges, requestAge{r.at, id})
}

func (l *loader) loadNode(d *decoder) {
	id := d.rawID()
	node := decodeOptional(d, func(d *decoder, n *cluster.Node) { *n = *decodeNode(d) })
	changed, allocsChanged := d.uint(), d.uint()
	if _, ok := l.w.nodeOf[id]; ok || d.err != nil {
		d.fail("node %s comes twice", id)
		return
	}
	entry := l.w.nodeForWrite(id)
	entry.node, entry.changed, entry.allocsChanged = node, changed, allocsChanged
	l.nodes = append(l.nodes, entry)
}

func (l *loader) loadJob(d *decoder) {
	key := cluster.JobKey{Namespace: d.string(), ID: d.string()}
	present := d.bool()
	if _, ok := l.w.jobOf[key]; ok || d.err != nil {
		d.fail("job %q comes twice", key.ID)
		return
	}
	entry := l.w.jobForWrite(key.Namespace, key.ID)
	for i := range entry.changed {
		entry.changed[i] = d.uint()
	}
	if d.version >= 2 {
		entry.launches = decodeOptional(d, decodeLaunches)
	}
	if d.version >= 3 {
		entry.scaling = decodeMap(d, func() []cluster.ScalingEvent { return decodeScalingEvents(d) })
	}
	l.jobs, l.present = append(l.jobs, entry), append(l.present, present)
}

func (l *loader) loadVersion(d *decoder) {
	number := d.uint()
	spec := decodeJob(d)
	if number >= uint64(len(l.jobs)) || d.err != nil {
		d.fail("a version of job %d of %d", number, len(l.jobs))
		return
	}
	live := *spec
	spec.VersionTag = nil
	live.Status = d.string()
	live.StatusDescription = d.string()
	live.Stable = d.bool()
	live.ModifyIndex = d.uint()
	entry := l.jobs[number]
	if spec.Namespace != entry.key.Namespace || spec.ID != entry.key.ID || entry.version(spec.CreateIndex, spec.Version) != nil {
		d.fail("version %d of job %q does not belong here", spec.Version, entry.key.ID)
		return
	}
	v := version{spec: spec, job: &live, source: decodeOptional(d, decodeSubmission)}
	entry.versions = append(entry.versions, v)
	l.w.specOf[spec] = l.w.jobOf[entry.key]
	l.versions = append(l.versions, &v)
	if l.present[number] {
		entry.job = &live // the newest comes last
	}
}

func (l *loader) loadEval(d *decoder) {
	eval := new(cluster.Evaluation)
	decodeEval(d, eval)
	if _, ok := l.w.evals.get(eval.ID); ok || d.err != nil {
		d.fail("evaluation %s comes twice", eval.ID)
		return
	}
	l.w.linkEval(eval)
}

func (l *loader) loadDeployment(d *decoder) {
	v := new(cluster.Deployment)
	decodeDeployment(d, v)
	if _, ok := l.w.deployments.get(v.ID); ok || d.err != nil {
		d.fail("deployment %s comes twice", v.ID)
		return
	}
	l.w.linkDeployment(v)
}

func (l *loader) loadService(d *decoder) {
	key := serviceKey{d.string(), d.string()}
	changed := d.uint()
	entry, ok := l.w.services.get(key)
	if !ok {
		d.fail("service %q has no endpoint", key.name)
		return
	}
	l.w.services.set(key, &serviceEntry{entry.endpoints, changed})
}

// finish completes what needed all parts.
func (l *loader) finish() (*writer, error) {
	w := l.w
	if _, ok := w.namespaces.get(cluster.DefaultNamespace); !ok {
		return nil, errors.New("it has no default namespace: the saved state is damaged")
	}
	for i, entry := range l.jobs {
		if l.present[i] && entry.newest() == nil {
			return nil, fmt.Errorf("job %q has no version: the saved state is damaged", entry.key.ID)
		}
		if l.present[i] {
			w.noteToken(entry.job)
		}
		entry.dirty = false
		w.listByClock(w.jobOf[entry.key], entry)
	}
	slices.SortFunc(w.requestAges, compareAges)
	w.dirty = w.dirty[:0]
	w.settle()
	w.tables = l.tables
	w.touched.reset()
	return w, nil
}
