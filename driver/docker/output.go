package docker

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// How far the files may be ahead of the cursor: what is written again after the agent was killed.
const (
	saveBytes    = 256 << 10
	saveInterval = 200 * time.Millisecond
)

// outputLabel says where a container's output goes; it is kept as a label.
type outputLabel struct {
	Dir  string
	Name string // of the task
	cluster.LogConfig
}

// cursor says how far the engine's log has been copied. It is saved beside the log files, after them: what they have
// beyond it is taken back when copying begins anew, and copied again. So every message is there once, however the agent ended.
//
// The times of one stream's messages never fall, but the engine may take down a message of one stream after a slightly
// younger one of the other. So each stream has its own place, and reading begins a little before the younger of them.
// (Where the node's clock is set back while the agent is away, messages are lost or there twice.)
type cursor struct{ Stdout, Stderr place }

// place is how far one stream has been copied.
type place struct {
	Time  time.Time // of the newest message copied; zero if there is none
	Count int       // how many messages of that time were copied
	End   driver.Position
}

// slack is how far the engine's messages may be out of order.
const slack = 10 * time.Second

// since is the time from which on the engine's log is to be read, in its notation.
func (c cursor) since() string {
	newest := c.Stdout.Time
	if c.Stderr.Time.After(newest) {
		newest = c.Stderr.Time
	}
	if newest.IsZero() {
		return ""
	}
	newest = newest.Add(-slack)
	return fmt.Sprintf("%d.%09d", newest.Unix(), newest.Nanosecond())
}

// output is the way of one container's output into its task's log files. It has one user at a time.
type output struct {
	path           string // of the cursor's file
	disabled       bool   // there is nothing to copy
	engineFile     int    // bytes in a file of the engine's log
	cursor         cursor
	stdout, stderr *driver.Log
	pace           pace
	unsaved        int
	savedAt        time.Time
}

// openOutput takes up the way where the cursor at path says, or where the log files end if there is none.
func openOutput(path string, label outputLabel, engineFile int) (*output, error) {
	o := &output{path: path, disabled: label.Disabled, engineFile: engineFile}
	logs := filepath.Join(label.Dir, "logs")
	var err error
	if o.stdout, err = driver.OpenLog(logs, label.Name+".stdout", label.LogConfig); err != nil {
		return nil, err
	}
	if o.stderr, err = driver.OpenLog(logs, label.Name+".stderr", label.LogConfig); err != nil {
		return nil, errors.Join(err, o.stdout.Close())
	}
	if err := o.resume(); err != nil {
		return nil, errors.Join(err, o.closeLogs())
	}
	return o, nil
}

func (o *output) resume() error {
	content, err := os.ReadFile(o.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return o.save()
	case err != nil:
		return fmt.Errorf("read cursor: %w", err)
	}
	if err := json.Unmarshal(content, &o.cursor); err != nil {
		return fmt.Errorf("read cursor %s: %w", o.path, err)
	}
	if err := o.stdout.Rewind(o.cursor.Stdout.End); err != nil {
		return err
	}
	return o.stderr.Rewind(o.cursor.Stderr.End)
}

// errBehind ends a copy that follows an engine which cannot be followed now: it has taken down much more than it delivered,
// or began one of its files anew.
var errBehind = errors.New("the engine's log changes faster than it is read")

// copy moves messages, read from where the cursor says on, until the stream ends (which is no error) or breaks. With hasty
// it ends by errBehind where going on could lose messages.
func (o *output) copy(from io.Reader, hasty bool) error {
	in := frames{from: bufio.NewReaderSize(from, 64<<10)}
	stdout, stderr := o.cursor.Stdout, o.cursor.Stderr
	before := [...]*place{streamStdout: &stdout, streamStderr: &stderr} // what is known of each stream
	for {
		m, err := in.next()
		if err == nil && !before[m.stream].has(m) {
			if o.pace.add(m); hasty && (o.again(m) || o.pace.backlog(time.Now()) > float64(o.engineFile)/4) {
				err = errBehind
			} else {
				err = o.add(m)
			}
		}
		if err == io.EOF {
			return o.save()
		}
		if err != nil {
			return errors.Join(err, o.save())
		}
	}
}

// pace estimates how fast the engine takes down messages, by their times. Its zero value is ready.
type pace struct {
	begin, last  time.Time // of the second that is looked at, as far as it is known
	bytes        float64   // in it
	rate, before float64   // bytes a second, in this second and in the one before
}

func (p *pace) add(m message) {
	switch span := m.time.Sub(p.begin); {
	case span < 0 || span > 2*time.Second:
		*p = pace{begin: m.time}
	case span > time.Second:
		*p = pace{begin: m.time, before: p.rate}
	}
	const around = 80 // what the engine's file has around each message
	p.last, p.bytes = m.time, p.bytes+float64(len(m.text)+around)
	p.rate = p.bytes / max(p.last.Sub(p.begin), 50*time.Millisecond).Seconds()
}

// backlog is about how many bytes the engine has taken down since the newest message.
func (p *pace) backlog(now time.Time) float64 {
	return max(p.rate, p.before) * now.Sub(p.last).Seconds()
}

// has reports whether the next message of the stream was copied before, and counts it. What follows the first that was not is new.
func (p *place) has(m message) bool {
	switch {
	case p.Count == 0:
		return false
	case m.time.Before(p.Time):
		return true
	case m.time.Equal(p.Time):
		p.Count--
		return true
	}
	p.Count = 0
	return false
}

// again reports whether the message looks like one that was copied already. One that is much older does not: the clock was set.
func (o *output) again(m message) bool {
	_, at := o.stream(m)
	return m.time.Before(at.Time) && m.time.After(at.Time.Add(-slack))
}

func (o *output) stream(m message) (*driver.Log, *place) {
	if m.stream == streamStderr {
		return o.stderr, &o.cursor.Stderr
	}
	return o.stdout, &o.cursor.Stdout
}

func (o *output) add(m message) error {
	log, at := o.stream(m)
	file := log.Position().File
	if _, err := log.Write(m.text); err != nil {
		return err
	}
	if !m.time.Equal(at.Time) {
		at.Time, at.Count = m.time, 0
	}
	at.Count++
	o.unsaved += len(m.text)
	if o.unsaved >= saveBytes || log.Position().File != file || time.Since(o.savedAt) >= saveInterval {
		return o.save()
	}
	return nil
}

// save writes the cursor for where the files are now.
func (o *output) save() error {
	o.cursor.Stdout.End, o.cursor.Stderr.End = o.stdout.Position(), o.stderr.Position()
	content, err := json.Marshal(o.cursor)
	if err != nil {
		return fmt.Errorf("save cursor: %w", err)
	}
	next := o.path + ".new"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return fmt.Errorf("save cursor: %w", err)
	}
	if err := os.Rename(next, o.path); err != nil {
		return fmt.Errorf("save cursor: %w", err)
	}
	o.unsaved, o.savedAt = 0, time.Now()
	return nil
}

func (o *output) closeLogs() error { return errors.Join(o.stdout.Close(), o.stderr.Close()) }
