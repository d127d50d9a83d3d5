package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// Handler serves the routes that only this node can answer: /v1/client/stats, /v1/client/gc, /v1/client/fs/… and
// /v1/client/allocation/:id/… It neither authenticates nor forwards: its caller does.
func (n *Node) Handler() http.Handler {
	mux := http.NewServeMux()
	const get, put, anything = "GET", "PUT POST", ""
	mux.Handle("/v1/client/stats", route(get, func(w http.ResponseWriter, r *http.Request) error {
		return writeJSON(w, r, n.hostStats())
	}))
	mux.Handle("/v1/client/gc", route(anything, func(w http.ResponseWriter, r *http.Request) error {
		if err := n.collectAll(); err != nil {
			return err
		}
		return writeJSON(w, r, nil)
	}))
	for verb, serve := range map[string]func(*runner, http.ResponseWriter, *http.Request) error{
		"ls": n.serveList, "stat": n.serveStat, "cat": n.serveCat, "readat": n.serveReadAt, "stream": n.serveStream, "logs": n.serveLogs,
	} {
		mux.Handle("/v1/client/fs/"+verb+"/{alloc...}", route(get, n.onAlloc(serve)))
	}
	for verb, one := range map[string]struct {
		methods string
		serve   func(*runner, http.ResponseWriter, *http.Request) error
	}{
		"stats": {get, n.serveStats}, "checks": {get, n.serveChecks}, "restart": {put, n.serveRestart},
		"signal": {put, n.serveSignal}, "gc": {anything, n.serveGC},
	} {
		mux.Handle("/v1/client/allocation/{alloc}/"+verb, route(one.methods, n.onAlloc(one.serve)))
	}
	return mux
}

// route serves errors as plain text with the status and header of their code. methods are separated by spaces; "" is all.
func route(methods string, serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := error(nil)
		if methods != "" && !slices.Contains(strings.Fields(methods), r.Method) {
			err = cluster.Errorf(cluster.CodeMethod, "Invalid method")
		} else {
			err = serve(w, r)
		}
		if err != nil && r.Context().Err() == nil {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			code := cluster.CodeOf(err)
			if code != cluster.CodeInternal {
				w.Header().Set(cluster.HeaderError, string(code))
			}
			w.WriteHeader(code.Status())
			io.WriteString(w, err.Error())
		}
	})
}

func writeJSON(w http.ResponseWriter, r *http.Request, value any) error {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if pretty := r.URL.Query(); pretty.Has("pretty") && pretty.Get("pretty") != "0" {
		encoder.SetIndent("", "    ")
	}
	encoder.Encode(value) // the client has gone if this fails
	return nil
}

func unknownAlloc(id cluster.ID) error {
	return cluster.Errorf(cluster.CodeNotFound, "Unknown allocation %q", id)
}

// onAlloc finds the allocation that the route names.
func (n *Node) onAlloc(serve func(*runner, http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		text := r.PathValue("alloc")
		if text == "" {
			return cluster.Errorf(cluster.CodeInvalid, "the path must end with the ID of an allocation")
		}
		id, err := cluster.ParseID(text)
		if err != nil {
			return err
		}
		found := n.runner(id)
		if found == nil {
			return unknownAlloc(id)
		}
		return serve(found, w, r)
	}
}

func (n *Node) serveStats(run *runner, w http.ResponseWriter, r *http.Request) error {
	found, err := n.allocStats(r.Context(), run, r.URL.Query().Get("task"))
	if err != nil {
		return err
	}
	return writeJSON(w, r, found)
}

func (n *Node) serveChecks(run *runner, w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, r, run.checkStatuses())
}

func (n *Node) serveGC(run *runner, w http.ResponseWriter, r *http.Request) error {
	if err := n.collectOne(run.id); err != nil {
		return err
	}
	return writeJSON(w, r, nil)
}

func (n *Node) serveRestart(run *runner, w http.ResponseWriter, r *http.Request) error {
	var asked cluster.AllocRestartRequest
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	if asked.TaskName != "" && asked.AllTasks {
		return cluster.Errorf(cluster.CodeInvalid, "restart allocation: give TaskName or AllTasks, not both")
	}
	id := orderID(r, "restart", asked)
	err := run.ask(r.Context(), func() error { return run.restart(id, asked.TaskName, asked.AllTasks) })
	if _, heeded := run.record().order(id, now()); err != nil && !heeded {
		return err
	}
	return writeJSON(w, r, cluster.IndexResponse{})
}

// restart starts tasks anew: the one named, or those that run, or with all those that ended well too. The same order, by its ID, is
// heeded once; "" is never the same.
func (r *runner) restart(id, only string, all bool) error {
	if _, heeded := r.rec.order(id, now()); heeded {
		return nil
	}
	if only != "" && r.rec.group().Task(only) == nil {
		return cluster.Errorf(cluster.CodeNotFound, "restart task: unknown task name %q", only)
	}
	rec := r.rec
	for i := range rec.Tasks {
		if only == "" || rec.Tasks[i].Name == only {
			rec = rec.restarted(i, all, now())
		}
	}
	if same(rec, r.rec) {
		return cluster.Errorf(cluster.CodeRejected, "restart allocation %s: Task not running", r.id)
	}
	return r.note(rec.ordered(order{ID: id, At: now(), Done: true}))
}

func (n *Node) serveSignal(run *runner, w http.ResponseWriter, r *http.Request) error {
	var asked cluster.AllocSignalRequest
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	if asked.Signal == "" {
		return cluster.Errorf(cluster.CodeInvalid, "signal allocation: Signal is missing; give one such as SIGHUP")
	}
	if asked.Task != "" && run.record().group().Task(asked.Task) == nil {
		return cluster.Errorf(cluster.CodeNotFound, "signal task: unknown task name %q", asked.Task)
	}
	err := run.once(r.Context(), orderID(r, "signal", asked), func(ctx context.Context) error { return run.signalTasks(ctx, asked) })
	if err != nil {
		return err
	}
	return writeJSON(w, r, cluster.IndexResponse{})
}

// signalTasks sends the signal to the task named, or to all that run.
func (r *runner) signalTasks(ctx context.Context, asked cluster.AllocSignalRequest) error {
	rec, sent := r.record(), 0
	for i, t := range rec.Tasks {
		if t.Stage != stageRunning || asked.Task != "" && asked.Task != t.Name {
			continue
		}
		if err := r.sendSignal(ctx, rec, i, asked.Signal); err != nil {
			return err
		}
		sent++
	}
	if sent == 0 {
		return cluster.Errorf(cluster.CodeRejected, "signal allocation %s: Task not running", r.id)
	}
	return nil
}

func (r *runner) sendSignal(ctx context.Context, rec *record, i int, signal string) error {
	d := r.node.config.Drivers[rec.spec(i).Driver]
	if d == nil {
		return cluster.Errorf(cluster.CodeInternal, "signal task %q: this node has no driver %q", rec.Tasks[i].Name, rec.spec(i).Driver)
	}
	err := d.Signal(ctx, taskID(r.id, rec.Tasks[i].Name, rec.Tasks[i].Attempt), signal)
	if errors.Is(err, driver.ErrInvalid) {
		return cluster.Errorf(cluster.CodeInvalid, "signal task %q: %w", rec.Tasks[i].Name, err)
	}
	if err != nil {
		return fmt.Errorf("signal task %q: %w", rec.Tasks[i].Name, err)
	}
	r.post(ctx, func() {
		r.set(r.rec.event(i, cluster.EventSignaling, "A user sent "+signal, now()), keepProcess)
	})
	return nil
}

// readJSON decodes the body; an empty one asks for nothing in particular.
func readJSON(r *http.Request, into any) error {
	const most = 1 << 16
	text, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err != nil {
		return cluster.Errorf(cluster.CodeInvalid, "read request body: %w", err)
	}
	if len(text) > most {
		return cluster.Errorf(cluster.CodeTooLarge, "read request body: it is larger than %d bytes", most)
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return cluster.Errorf(cluster.CodeInvalid, "read request body: %w", err)
	}
	return nil
}

// tree is the allocation's directory.
func (n *Node) tree(run *runner) tree { return tree(n.dirs(run.id)) }

// pathOf is the path that a request names; it must, unless there is another to take.
func pathOf(q url.Values, otherwise string) (string, error) {
	name := q.Get("path")
	if name == "" {
		name = otherwise
	}
	if name == "" {
		return "", cluster.Errorf(cluster.CodeInvalid, "the parameter path is missing")
	}
	if strings.ContainsRune(name, 0) {
		return "", cluster.Errorf(cluster.CodeInvalid, "the path contains a NUL byte")
	}
	return name, nil
}

func (n *Node) serveList(run *runner, w http.ResponseWriter, r *http.Request) error {
	name, err := pathOf(r.URL.Query(), "/")
	if err != nil {
		return err
	}
	found, err := n.tree(run).list(name)
	if err != nil {
		return err
	}
	return writeJSON(w, r, found)
}

func (n *Node) serveStat(run *runner, w http.ResponseWriter, r *http.Request) error {
	name, err := pathOf(r.URL.Query(), "")
	if err != nil {
		return err
	}
	found, err := n.tree(run).stat(name)
	if err != nil {
		return err
	}
	return writeJSON(w, r, found)
}

func (n *Node) serveCat(run *runner, w http.ResponseWriter, r *http.Request) error {
	return n.serveBytes(run, w, r, 0, -1)
}

func (n *Node) serveReadAt(run *runner, w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	offset, err := strconv.ParseInt(q.Get("offset"), 10, 64)
	if err != nil || offset < 0 {
		return cluster.Errorf(cluster.CodeInvalid, "the parameter offset must be a number of bytes from 0")
	}
	limit := int64(-1)
	if q.Has("limit") {
		if limit, err = strconv.ParseInt(q.Get("limit"), 10, 64); err != nil {
			return cluster.Errorf(cluster.CodeInvalid, "the parameter limit must be a number of bytes")
		}
	}
	return n.serveBytes(run, w, r, offset, limit)
}

// serveBytes writes a file as it is; a limit below 0 is none. No browser takes it for a page.
func (n *Node) serveBytes(run *runner, w http.ResponseWriter, r *http.Request, offset, limit int64) error {
	name, err := pathOf(r.URL.Query(), "")
	if err != nil {
		return err
	}
	file, _, err := n.tree(run).open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	head := make([]byte, 512)
	got, _ := file.ReadAt(head, offset)
	kind := http.DetectContentType(head[:got])
	if strings.HasPrefix(kind, "text/") {
		kind = "text/plain; charset=utf-8"
	} else {
		kind = "application/octet-stream"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return fileError(name, err)
	}
	from := io.Reader(file)
	if limit >= 0 {
		from = io.LimitReader(file, limit)
	}
	io.Copy(w, from) // the client has gone if this fails
	return nil
}

// streamQuery is what the two following routes have in common.
type streamQuery struct {
	follow, fromEnd, plain bool
	offset                 int64
}

func streamQueryOf(q url.Values, follow bool) (streamQuery, error) {
	s := streamQuery{follow: follow}
	var err error
	for name, into := range map[string]*bool{"follow": &s.follow, "plain": &s.plain} {
		if text := q.Get(name); text != "" {
			if *into, err = strconv.ParseBool(text); err != nil {
				return s, cluster.Errorf(cluster.CodeInvalid, "the parameter %s must be true or false, not %.40q", name, text)
			}
		}
	}
	if text := q.Get("offset"); text != "" {
		if s.offset, err = strconv.ParseInt(text, 10, 64); err != nil || s.offset < 0 {
			return s, cluster.Errorf(cluster.CodeInvalid, "the parameter offset must be a number of bytes from 0, not %.40q", text)
		}
	}
	switch q.Get("origin") {
	case "", "start":
	case "end":
		s.fromEnd = true
	default:
		return s, cluster.Errorf(cluster.CodeInvalid, "the parameter origin must be start or end, not %.40q", q.Get("origin"))
	}
	return s, nil
}

func (n *Node) serveStream(run *runner, w http.ResponseWriter, r *http.Request) error {
	name, err := pathOf(r.URL.Query(), "")
	if err != nil {
		return err
	}
	q, err := streamQueryOf(r.URL.Query(), true)
	if err != nil {
		return err
	}
	from, err := openFile(n.tree(run), name, q.offset, q.fromEnd)
	if err != nil {
		return err
	}
	return n.stream(run, w, r, from, q)
}

func (n *Node) serveLogs(run *runner, w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	q, err := streamQueryOf(query, false)
	if err != nil {
		return err
	}
	task, kind := query.Get("task"), query.Get("type")
	switch {
	case task == "":
		return cluster.Errorf(cluster.CodeInvalid, "the parameter task is missing")
	case kind != "stdout" && kind != "stderr":
		return cluster.Errorf(cluster.CodeInvalid, "the parameter type must be stdout or stderr, not %.40q", kind)
	}
	rec := run.record()
	at := slices.IndexFunc(rec.Tasks, func(t taskRecord) bool { return t.Name == task })
	if at < 0 {
		return cluster.Errorf(cluster.CodeNotFound, "unknown task name %q", task)
	}
	if rec.Tasks[at].StartedAt == 0 {
		return cluster.Errorf(cluster.CodeNotFound, "task %q not started yet. No logs available", task)
	}
	from, err := openLogs(n.tree(run), task, kind, q, func() bool {
		return run.record().Tasks[at].State == cluster.TaskDead
	})
	if err != nil {
		return err
	}
	return n.stream(run, w, r, from, q)
}

// stream serves a source to its end. After it has begun there is nowhere to write an error to but our log.
func (n *Node) stream(run *runner, w http.ResponseWriter, r *http.Request, from source, q streamQuery) error {
	defer from.close()
	http.NewResponseController(w).SetWriteDeadline(time.Time{})
	if err := pump(r.Context(), from, newSink(w, q.plain), q.follow); err != nil && r.Context().Err() == nil {
		run.log.Debug("a stream broke off", "err", err)
	}
	return nil
}
