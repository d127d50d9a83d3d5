package docker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

// frame is a message as the engine sends it.
func frame(stream byte, text string) []byte {
	out := append([]byte{stream, 0, 0, 0}, 0, 0, 0, 0)
	binary.BigEndian.PutUint32(out[4:], uint32(len(text)))
	return append(out, text...)
}

func TestFrames(t *testing.T) {
	in := frames{from: bytes.NewReader(append(
		frame(1, "2026-01-02T03:04:05.000000006Z hello\n"),
		frame(2, "2026-01-02T03:04:05.7Z ")...))}
	m, err := in.next()
	if err != nil || m.stream != 1 || string(m.text) != "hello\n" || m.time.Nanosecond() != 6 {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err = in.next(); err != nil || m.stream != 2 || len(m.text) != 0 {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err = in.next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	for _, torn := range []string{"\x01", "\x01\x00\x00\x00\x00\x00\x00\x05abc", "\x01\x00\x00\x00\xff\xff\xff\xff", "\x01\x01\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x00"} {
		in := frames{from: strings.NewReader(torn)}
		if _, err := in.next(); err == nil || err == io.EOF {
			t.Errorf("%q: %v", torn, err)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(frame(1, "2026-01-02T03:04:05Z hello\n"))
	f.Add(append(frame(2, "2026-01-02T03:04:05Z "), frame(3, "broken")...))
	f.Fuzz(func(t *testing.T, content []byte) {
		in := frames{from: bytes.NewReader(content)}
		total := 0
		for {
			m, err := in.next()
			if err != nil {
				break
			}
			total += len(m.text) + 8
		}
		if total > len(content) {
			t.Errorf("%d bytes read of %d", total, len(content))
		}
	})
}

// line is a message of a test's log.
type line struct {
	stream byte
	at     int // ms
	text   string
}

// engineLog is what an engine sends of a log from a cursor on.
func engineLog(c cursor, lines []line) io.Reader {
	var out bytes.Buffer
	newest := c.Stdout.Time
	if c.Stderr.Time.After(newest) {
		newest = c.Stderr.Time
	}
	for _, l := range lines {
		at := time.UnixMilli(int64(l.at) + 1e12).UTC()
		if c.since() == "" || !at.Before(newest.Add(-slack)) {
			out.Write(frame(l.stream, at.Format(time.RFC3339Nano)+" "+l.text))
		}
	}
	return &out
}

// TestCopyResumes kills the agent after each message, with the cursor saved after each other, and reads on.
func TestCopyResumes(t *testing.T) {
	log := []line{
		{1, 0, "a\n"}, {1, 20000, "b\n"}, {2, 20000, "x\n"}, {1, 20001, "c\n"}, {2, 20000, "y\n"}, {1, 20001, "d\n"},
		{1, 20001, "long "}, {1, 20001, "line\n"}, {2, 19999 + 3, "z\n"}, {1, 40000, "e\n"},
	}
	for saved := range len(log) + 1 {
		for killed := saved; killed <= len(log); killed++ {
			dir := t.TempDir()
			path := filepath.Join(dir, "cursor")
			label := outputLabel{Dir: dir, Name: "web", LogConfig: cluster.LogConfig{MaxFiles: 2, MaxFileSizeMB: 1}}
			o := mustOpen(t, path, label)
			if err := o.copy(engineLog(o.cursor, log[:saved]), false); err != nil {
				t.Fatal(err)
			}
			kept, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := o.copy(engineLog(o.cursor, log[:killed]), false); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, kept, 0o600); err != nil { // the newer cursor was never saved
				t.Fatal(err)
			}
			o.closeLogs()
			o = mustOpen(t, path, label)
			if err := o.copy(engineLog(o.cursor, log), false); err != nil {
				t.Fatal(err)
			}
			o.closeLogs()
			for name, want := range map[string]string{"stdout": "a\nb\nc\nd\nlong line\ne\n", "stderr": "x\ny\nz\n"} {
				got, err := os.ReadFile(filepath.Join(dir, "logs", "web."+name+".0"))
				if err != nil || string(got) != want {
					t.Errorf("saved after %d, killed after %d: %s is %q, want %q (%v)", saved, killed, name, got, want, err)
				}
			}
		}
	}
}

func mustOpen(t *testing.T, path string, label outputLabel) *output {
	t.Helper()
	o, err := openOutput(path, label, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.closeLogs() })
	return o
}

// TestCopyNoticesRepeats follows an engine that begins its log anew.
func TestCopyNoticesRepeats(t *testing.T) {
	dir := t.TempDir()
	log := []line{{1, 100, "a\n"}, {1, 200, "b\n"}, {1, 300, "c\n"}}
	o := mustOpen(t, filepath.Join(dir, "cursor"), outputLabel{Dir: dir, Name: "web"})
	if err := o.copy(engineLog(cursor{}, append(log[:3:3], log...)), true); !errors.Is(err, errBehind) {
		t.Errorf("the repetition: %v", err)
	}
	if err := o.copy(engineLog(o.cursor, log), false); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "logs/web.stdout.0")); string(got) != "a\nb\nc\n" {
		t.Errorf("output %q", got)
	}
}

func TestPace(t *testing.T) {
	var p pace
	begin := time.Unix(1000, 0)
	for i := range 100 {
		p.add(message{time: begin.Add(time.Duration(i) * 10 * time.Millisecond), text: make([]byte, 920)})
	}
	last := begin.Add(990 * time.Millisecond)
	for _, test := range []struct {
		after    time.Duration
		from, to float64
	}{{0, 0, 0}, {time.Second, 90e3, 110e3}, {10 * time.Second, 900e3, 1100e3}} {
		if got := p.backlog(last.Add(test.after)); got < test.from || got > test.to {
			t.Errorf("after %v %v bytes are expected to wait, want %v to %v", test.after, got, test.from, test.to)
		}
	}
}

func TestBrokenCursor(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cursor")
	os.WriteFile(path, []byte("{"), 0o600)
	if _, err := openOutput(path, outputLabel{Dir: dir, Name: "web"}, 1); err == nil || !strings.Contains(fmt.Sprint(err), path) {
		t.Errorf("%v", err)
	}
}
