package state

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/a43e60e4/cluster"
)

// RequestWindow is how long the answer to a request is remembered, in nanoseconds of the commands' time.
const RequestWindow = int64(600e9)

// writer is the state as its one writer sees it: like a Snapshot, but changing.
type writer struct {
	index   uint64
	at      int64 // time of the command being applied
	batch   uint64
	intern  interner
	touched touched
	used    slots
	tables  [tables]tableIndex
	content

	// What follows is the writer's own, to find things faster; the tables say the same.
	nodeOf      map[cluster.ID]uint32
	jobOf       map[cluster.JobKey]uint32
	specOf      map[*cluster.Job]uint32 // every version that is kept → its job's number
	launchOf    map[launchToken]string  // … → the ID of the launch that was asked for with it last
	freeNodes   []uint32
	freeJobs    []uint32
	requestAges []requestAge                       // oldest first
	dirty       []uint32                           // jobs whose status is to be derived again
	unsorted    []*[]uint32                        // lists of slots that became unsorted
	counting    map[cluster.ID]*cluster.Deployment // made for this batch, not yet published

	trackedVersions int // what MetaTrackedVersions says
}

type metaEntry struct {
	value []byte
	index uint64
}

// remembered is the answer to a request.
type remembered struct {
	at     int64
	result Result
}

type requestAge struct {
	at int64
	id string
}

// compareIDs is cluster.ID.Compare without its copies; trees spend their time in it.
func compareIDs(a, b cluster.ID) int { return bytes.Compare(a[:], b[:]) }

func newWriter() *writer {
	w := &writer{
		batch: 1,
		content: content{
			nodeNumbers: newTable[cluster.ID, uint32](compareIDs),
			jobNumbers:  newTable[cluster.JobKey, uint32](compareJobKeys),
			byClock:     newTable[cluster.JobKey, uint32](compareJobKeys),
			evals:       newTable[cluster.ID, *cluster.Evaluation](compareIDs),
			pending:     newTable[created, *cluster.Evaluation](created.compare),
			blocked:     newTable[created, *cluster.Evaluation](created.compare),
			deployments: newTable[cluster.ID, *cluster.Deployment](compareIDs),
			active:      newTable[created, *cluster.Deployment](created.compare),
			services:    newTable[serviceKey, *serviceEntry](serviceKey.compare),
			namespaces:  newTable[string, *cluster.Namespace](strings.Compare),
			meta:        newTable[string, metaEntry](strings.Compare),
			requests:    newTable[string, remembered](strings.Compare),
		},
		nodeOf:   make(map[cluster.ID]uint32),
		jobOf:    make(map[cluster.JobKey]uint32),
		specOf:   make(map[*cluster.Job]uint32),
		launchOf: make(map[launchToken]string),
		counting: make(map[cluster.ID]*cluster.Deployment),

		trackedVersions: DefaultTrackedVersions,
	}
	w.namespaces.set(cluster.DefaultNamespace, &cluster.Namespace{Name: cluster.DefaultNamespace, Description: "Default shared namespace"})
	return w
}

// apply applies the commands of one entry in order. A command that is refused changes nothing.
func (w *writer) apply(index uint64, commands []Command) []Result {
	w.index = index
	results := make([]Result, len(commands))
	for i, c := range commands {
		results[i] = w.answer(c)
	}
	w.settle()
	return results
}

// answer applies one command, or repeats what the same request was answered before.
func (w *writer) answer(c Command) Result {
	w.at = c.at()
	request := c.request()
	if old, ok := w.requests.get(request); ok && request != "" && w.at-old.at < RequestWindow {
		old.result.Repeated = true
		return old.result
	}
	result, err := c.apply(w)
	result.Index = w.index
	if err != nil {
		return Result{Index: w.index, Err: err}
	}
	if request != "" {
		w.remember(request, remembered{w.at, result})
	}
	return result
}

func (w *writer) remember(request string, answer remembered) {
	expired := 0
	for _, age := range w.requestAges {
		if w.at-age.at < RequestWindow {
			break
		}
		if old, ok := w.requests.get(age.id); ok && old.at == age.at {
			w.requests.remove(age.id)
		}
		expired++
	}
	w.requestAges = w.requestAges[expired:]
	w.requests.set(request, answer)
	age := requestAge{answer.at, request}
	place, _ := slices.BinarySearchFunc(w.requestAges, age, compareAges)
	w.requestAges = slices.Insert(w.requestAges, place, age)
}

func compareAges(a, b requestAge) int {
	return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.id, b.id))
}

// settle brings what is derived up to date at the end of an entry.
func (w *writer) settle() {
	for i := 0; i < len(w.dirty); i++ { // which grows: what became of a launch is news of its parent
		w.settleJob(w.dirty[i])
	}
	w.dirty = w.dirty[:0]
	for _, list := range w.unsorted {
		sorted := slices.Clone(*list)
		slices.Sort(sorted)
		*list = sorted
	}
	w.unsorted = w.unsorted[:0]
}

// addSlot appends a slot in place, behind what published copies of the list show.
func (w *writer) addSlot(list *[]uint32, slot uint32) {
	if n := len(*list); n > 0 && (*list)[n-1] > slot {
		if len(w.unsorted) == 0 || w.unsorted[len(w.unsorted)-1] != list {
			w.unsorted = append(w.unsorted, list)
		}
	}
	*list = append(*list, slot)
}

// withoutSlots is a copy of the list without the given slots.
func withoutSlots(list []uint32, gone map[uint32]bool) []uint32 {
	rest := make([]uint32, 0, len(list))
	for _, slot := range list {
		if !gone[slot] {
			rest = append(rest, slot)
		}
	}
	return rest
}

// change notes that something in a table changed, remove that something went.
func (w *writer) change(t Table) {
	w.tables[t].changed = w.index
	w.touched.tables[t] = true
}

func (w *writer) remove(t Table) {
	w.tables[t].removed = w.index
	w.change(t)
}

// publish is the state as it stands, for readers.
func (w *writer) publish() *Snapshot {
	w.batch++
	clear(w.counting)
	return &Snapshot{index: w.index, tables: w.tables, allocCount: w.used.n, content: w.content.freeze()}
}
