package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
)

// tailLines is how many lines -tail shows when it is not told.
const tailLines = 10

func (p *program) allocLogs(name string) *cli.Command {
	return p.command(verb{
		name: name, short: "print what a task wrote", args: "ID [TASK]", max: 2,
		long: "Without -f and -stderr it prints standard output; with -f alone it follows both, each to where it belongs.\n" +
			"Following goes on at the same place when the agent was away.",
		example: "cluster alloc logs 8d3c1f7a\ncluster alloc logs -f -tail 20 8d3c1f7a web\ncluster alloc logs -stderr -job web",
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "f", Usage: "follow: wait for more"},
			&cli.GenericFlag{Name: "tail", Value: &count{otherwise: tailLines}, Usage: "begin with the last `N` lines (10)"},
			&cli.GenericFlag{Name: "n", Value: &count{otherwise: tailLines}, Usage: "as -tail `N`"},
			&cli.StringFlag{Name: "c", Usage: "begin with the last `N` bytes"},
			&cli.BoolFlag{Name: "stderr", Usage: "standard error"},
			&cli.BoolFlag{Name: "stdout", Usage: "standard output"},
			&cli.StringFlag{Name: "task", Usage: "of task `NAME`, where there are several"},
			&cli.StringFlag{Name: "job", Usage: "of a running allocation of job `ID`"},
		},
		run: printLogs,
	})
}

func printLogs(c *call) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	a, task, err := chooseTask(c, client)
	if err != nil {
		return err
	}
	tail, bytes, err := logStart(c)
	if err != nil {
		return err
	}
	stdout, stderr := c.Bool("stdout"), c.Bool("stderr")
	if !stdout && !stderr {
		stdout, stderr = true, c.Bool("f")
	}
	group, ctx := errgroup.WithContext(c.ctx())
	for _, stream := range []struct {
		wanted bool
		name   string
		to     io.Writer
	}{{stdout, "stdout", c.program.stdout}, {stderr, "stderr", c.program.stderr}} {
		if stream.wanted {
			l := &logReader{client: client, alloc: a, task: task, stream: stream.name, to: stream.to, notes: c.program.stderr, tail: tail, bytes: bytes}
			group.Go(func() error { return l.run(ctx, c.Bool("f")) })
		}
	}
	err = group.Wait()
	if c.Bool("f") && c.Context.Err() != nil {
		return nil // the user has seen enough
	}
	return err
}

// logStart is where to begin: at the last tail lines, at the last bytes, or (both negative) at the start.
func logStart(c *call) (tail int, bytes int64, err error) {
	tail, bytes = -1, -1
	for _, name := range []string{"tail", "n"} {
		if n, ok := c.Generic(name).(*count); ok && n.given {
			tail = n.n
		}
	}
	if text := c.String("c"); text != "" {
		bytes, err = strconv.ParseInt(text, 10, 64)
		if err != nil || bytes < 0 {
			return 0, 0, fmt.Errorf("read flag -c %q: want a number of bytes", clip(text))
		}
		tail = -1
	}
	return tail, bytes, nil
}

// chooseTask finds the allocation and its task that the arguments name.
func chooseTask(c *call, client *api.Client) (*cluster.Allocation, string, error) {
	id, task, err := cluster.ID{}, c.Args().Get(1), error(nil)
	if c.String("job") != "" {
		id, err = runningAllocation(c, client, c.String("job"))
		task = c.Args().First()
	} else if c.NArg() == 0 {
		return nil, "", fmt.Errorf("read logs: want the ID of an allocation, or -job ID")
	} else {
		id, err = c.allocID(client, c.Args().First())
	}
	if err != nil {
		return nil, "", err
	}
	a, _, err := client.Allocation(c.ctx(), id, api.Query{Namespace: c.lookup()})
	if err != nil {
		return nil, "", err
	}
	if name := c.String("task"); name != "" {
		task = name
	}
	names := taskNames(a)
	switch {
	case task == "" && len(names) == 1:
		return a, names[0], nil
	case task == "":
		return nil, "", fmt.Errorf("read logs of allocation %s: it has several tasks, name one: %s", a.ID.Short(), strings.Join(names, ", "))
	case a.Group() == nil || a.Group().Task(task) == nil:
		return nil, "", unknownTask(a, task)
	}
	return a, task, nil
}

// runningAllocation is the newest running allocation of a job, or the newest at all.
func runningAllocation(c *call, client *api.Client, typed string) (cluster.ID, error) {
	key, err := c.jobKey(client, typed)
	if err != nil {
		return cluster.ID{}, err
	}
	list, _, err := client.JobAllocations(c.ctx(), key.ID, false, api.Query{Namespace: key.Namespace})
	if err != nil {
		return cluster.ID{}, err
	}
	if len(list) == 0 {
		return cluster.ID{}, cluster.Errorf(cluster.CodeNotFound, "find allocation of job %q: it has none: `%s` says why", key.ID, c.jobCommand("status", key))
	}
	best := list[0]
	for _, a := range list[1:] {
		runs, bestRuns := a.ClientStatus == cluster.ClientRunning, best.ClientStatus == cluster.ClientRunning
		if runs && !bestRuns || runs == bestRuns && a.CreateIndex > best.CreateIndex {
			best = a
		}
	}
	return best.ID, nil
}

// logReader copies one output of one task.
type logReader struct {
	client *api.Client
	alloc  *cluster.Allocation
	task   string
	stream string // stdout or stderr
	to     io.Writer
	notes  io.Writer // where it is said that the agent is away
	tail   int       // lines to begin with; negative: not asked for
	bytes  int64     // bytes to begin with; negative: not asked for

	// Where reading is: the end of what was written, as the offset in one of the rotated files.
	file   string // "" before the first byte
	offset int64
}

func (l *logReader) query() api.Query { return api.Query{Namespace: l.alloc.Namespace()} }

// run writes what there is, and with follow what comes, until the task has ended or ctx does.
func (l *logReader) run(ctx context.Context, follow bool) error {
	start := api.LogOptions{Task: l.task, Type: l.stream, Follow: follow}
	switch {
	case l.tail >= 0:
		err := l.copyTail(ctx)
		for again := 0; again < 3 && err != nil && passing(err); again++ {
			err = l.copyTail(ctx) // nothing of it was written
		}
		if err != nil || !follow {
			return err
		}
		return l.follow(ctx)
	case l.bytes >= 0:
		start.Origin, start.Offset = "end", l.bytes
	}
	err := l.copy(ctx, start)
	if !follow || ctx.Err() != nil || err != nil && l.file == "" && !passing(err) {
		return err
	}
	return l.follow(ctx)
}

// tailChunk is how many bytes are read at first to find the last lines; tailLimit how many at most.
const (
	tailChunk = 64 << 10
	tailLimit = 64 << 20
)

// copyTail writes the last lines.
func (l *logReader) copyTail(ctx context.Context) error {
	if l.tail == 0 {
		var nothing bytes.Buffer
		return l.copyTo(ctx, api.LogOptions{Task: l.task, Type: l.stream, Origin: "end", Offset: 1}, &nothing)
	}
	for size := int64(tailChunk); ; size *= 4 {
		var text bytes.Buffer
		if err := l.copyTo(ctx, api.LogOptions{Task: l.task, Type: l.stream, Origin: "end", Offset: size}, &text); err != nil {
			return err
		}
		cut, found := lastLines(text.Bytes(), l.tail)
		if found || int64(text.Len()) < size || size >= tailLimit {
			_, err := l.to.Write(cut)
			return err
		}
	}
}

// lastLines is the end of text that holds its last n lines, and whether text holds more than these.
func lastLines(text []byte, n int) ([]byte, bool) {
	end := len(text)
	if end > 0 && text[end-1] == '\n' {
		end--
	}
	for range n {
		i := bytes.LastIndexByte(text[:end], '\n')
		if i < 0 {
			return text, false
		}
		end = i
	}
	return text[end+1:], true
}

func (l *logReader) copy(ctx context.Context, o api.LogOptions) error { return l.copyTo(ctx, o, l.to) }

// copyTo writes frames to w and remembers where they end.
func (l *logReader) copyTo(ctx context.Context, o api.LogOptions, w io.Writer) error {
	frames, err := l.client.Logs(ctx, l.alloc.ID, o, l.query())
	if err != nil {
		return err
	}
	defer frames.Close()
	return l.drain(frames, w)
}

func (l *logReader) drain(frames *api.Frames, w io.Writer) error {
	for {
		f, err := frames.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := l.take(f, w); err != nil {
			return err
		}
	}
}

func (l *logReader) take(f cluster.FileFrame, w io.Writer) error {
	if f.File != "" {
		l.file = f.File
	}
	if len(f.Data) == 0 {
		return nil
	}
	l.offset = f.Offset
	_, err := w.Write(f.Data)
	return err
}

// The pauses between attempts to reach an agent that went away.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
)

// follow goes on where reading ended, again and again, until the allocation has ended and everything was read.
func (l *logReader) follow(ctx context.Context) error {
	pause, said := firstPause, false
	for {
		ended, err := l.ended(ctx)
		if err == nil {
			before := l.offset
			err = l.resume(ctx, !ended)
			if l.offset != before {
				pause, said = firstPause, false
			}
			if ended && err == nil {
				return nil
			}
		}
		if cluster.CodeOf(err) == cluster.CodeNotFound || cluster.CodeOf(err) == cluster.CodeForbidden {
			return err
		}
		if err != nil && ctx.Err() == nil && !said && pause == lastPause {
			fmt.Fprintf(l.notes, "%v; trying again\n", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

func (l *logReader) ended(ctx context.Context) (bool, error) {
	a, _, err := l.client.Allocation(ctx, l.alloc.ID, l.query())
	if err != nil {
		return false, err
	}
	return a.ClientStatus.Terminal(), nil
}

// resume reads on from l.file at l.offset. The API counts offsets over all the rotated files that are left, which
// change: so the sum is made from a list of them, and the first frame must be the expected one, or it is tried again.
func (l *logReader) resume(ctx context.Context, follow bool) error {
	files, err := l.client.ListFiles(ctx, l.alloc.ID, "/alloc/logs", l.query())
	if err != nil {
		return err
	}
	offset, gone := position(files, l.task+"."+l.stream+".", l.file, l.offset)
	if gone {
		l.file, l.offset = "", 0
	}
	frames, err := l.client.Logs(ctx, l.alloc.ID, api.LogOptions{Task: l.task, Type: l.stream, Offset: offset, Follow: follow}, l.query())
	if err != nil {
		return err
	}
	defer frames.Close()
	first, err := frames.Next()
	for err == nil && len(first.Data) == 0 && first.FileEvent == "" {
		first, err = frames.Next()
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	if l.file != "" && first.File != "" && len(first.Data) > 0 {
		if files, err = l.client.ListFiles(ctx, l.alloc.ID, "/alloc/logs", l.query()); err != nil {
			return err
		}
		if !l.continues(files, first) {
			return cluster.Errorf(cluster.CodeUnavailable, "read logs: the files were rotated meanwhile")
		}
	}
	if err := l.take(first, l.to); err != nil {
		return err
	}
	return l.drain(frames, l.to)
}

// continues reports whether nothing lies between what was read before and the frame, of all that is in the files that are left.
func (l *logReader) continues(files []cluster.FileEntry, first cluster.FileFrame) bool {
	begin := first.Offset - int64(len(first.Data))
	if first.File == l.file {
		return begin == l.offset
	}
	prefix := l.task + "." + l.stream + "."
	last, lastOK := logNumber(l.file, prefix)
	now, nowOK := logNumber(first.File, prefix)
	if !lastOK || !nowOK || begin != 0 || now < last {
		return false
	}
	return !slices.ContainsFunc(files, func(f cluster.FileEntry) bool {
		n, ok := logNumber(f.Name, prefix)
		return ok && (n == last && f.Size > l.offset || last < n && n < now && f.Size > 0)
	})
}

// logNumber reads the N of a path that ends with prefix and N.
func logNumber(file, prefix string) (int, bool) {
	suffix, ok := strings.CutPrefix(path.Base(file), prefix)
	n, err := strconv.Atoi(suffix)
	return n, ok && err == nil
}

// position is the offset, over all files named prefix and a number, of a place in one of them. gone reports that the
// file has been rotated away: then the position is the start of the oldest that is left.
func position(files []cluster.FileEntry, prefix, file string, offset int64) (total int64, gone bool) {
	if file == "" {
		return 0, false
	}
	current, ok := logNumber(file, prefix)
	if !ok {
		return 0, true
	}
	found := false
	for _, f := range files {
		number, ok := logNumber(f.Name, prefix)
		switch {
		case !ok:
		case number < current:
			total += f.Size
		case number == current:
			found = true
		}
	}
	if !found {
		return 0, true
	}
	return total + offset, false
}
