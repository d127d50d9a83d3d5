package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/a43e60e4/cluster"
)

// order is something that a person wants done once with the tasks of an allocation, a restart or a signal. Its request may come
// several times: who carried it may have died before it had the answer.
type order struct {
	ID   string // orderID
	At   int64
	Done bool         // false: it was begun, and what came of it is not known
	Code cluster.Code `json:",omitempty"` // of Err
	Err  string       `json:",omitempty"` // why it failed
}

const (
	// orderMemory is how long an order is remembered: as long as the servers remember requests.
	orderMemory = int64(10 * time.Minute)
	mostOrders  = 64 // of one allocation
	// longestOrderID is the length of the longest ID that is remembered; the servers make no longer one.
	longestOrderID = 128
)

// orderID is the ID of the request's order, "" if it has none. What is wished belongs to it: one ID may come with several orders.
func orderID(r *http.Request, verb string, wish any) string {
	id := r.Header.Get(cluster.HeaderRequestID)
	if id == "" || len(id) > longestOrderID {
		return ""
	}
	digest := sha256.Sum256(fmt.Appendf(nil, "%s %+v", verb, wish))
	return id + "/" + hex.EncodeToString(digest[:8])
}

// order is what the record still knows of the order.
func (r record) order(id string, now int64) (order, bool) {
	i := slices.IndexFunc(r.Orders, func(o order) bool { return o.ID == id && now-o.At <= orderMemory })
	if id == "" || i < 0 {
		return order{}, false
	}
	return r.Orders[i], true
}

// ordered is the record with the order, in place of what it knew of it, and without those that nobody will repeat.
func (r record) ordered(o order) record {
	if o.ID == "" {
		return r
	}
	kept := slices.DeleteFunc(slices.Clone(r.Orders), func(old order) bool { return old.ID == o.ID || o.At-old.At > orderMemory })
	kept = append(kept, o)
	r.Orders = kept[max(0, len(kept)-mostOrders):]
	return r
}

// result is what the order came to.
func (o order) result() error {
	switch {
	case !o.Done:
		return fmt.Errorf("this node's agent ended while it did that: it may or may not be done, look before you ask again")
	case o.Err != "":
		return cluster.Errorf(o.Code, "%s", o.Err)
	}
	return nil
}

// carriedOut is an order that is being carried out.
type carriedOut struct {
	over chan struct{} // closed at the end
	err  error         // set before
}

// orderTime bounds how long an order takes.
const orderTime = 30 * time.Second

// once does what an order wants, if that was not begun before; else it waits for the end of that. It gives the first result again
// and again. The work goes on if ctx ends: whoever asked may have been cut off, and asks again another way.
func (r *runner) once(ctx context.Context, id string, work func(context.Context) error) error {
	if id == "" {
		return work(ctx)
	}
	if known, _ := r.record().order(id, now()); known.Done {
		return known.result()
	}
	var current *carriedOut
	err := r.ask(ctx, func() error {
		if current = r.orders[id]; current != nil {
			return nil
		}
		if known, begun := r.rec.order(id, now()); begun {
			return known.result()
		}
		var err error
		current, err = r.carryOut(order{ID: id, At: now()}, work)
		return err
	})
	if err != nil || current == nil {
		return err
	}
	select {
	case <-current.over:
		return current.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// note puts on record what an order changes, before anything is done about it, or nothing: what cannot be written would be done
// again by the next process, and a task that is ended could not be started.
func (r *runner) note(rec record) error {
	before := r.rec
	r.set(rec, keepProcess)
	if r.unsaved == nil {
		return nil
	}
	r.set(before, keepNothing)
	return cluster.Errorf(cluster.CodeRejected, "allocation %s: %s: nothing was done; make room there and ask again", r.id, impediment(r.unsaved))
}

// carryOut begins the work beside the loop.
func (r *runner) carryOut(o order, work func(context.Context) error) (*carriedOut, error) {
	if err := r.note(r.rec.ordered(o)); err != nil {
		return nil, err
	}
	c := &carriedOut{over: make(chan struct{})}
	r.orders[o.ID] = c
	loop := r.loop
	ctx, cancel := context.WithTimeout(loop, orderTime)
	r.beside(loop, func() {
		defer cancel()
		defer close(c.over)
		if c.err = work(ctx); c.err != nil && loop.Err() != nil {
			c.err = o.result()
		}
	}, func() {
		delete(r.orders, o.ID)
		o.Done = true
		if c.err != nil {
			o.Code, o.Err = cluster.CodeOf(c.err), c.err.Error()
		}
		r.set(r.rec.ordered(o), keepProcess)
	})
	return c, nil
}
