package supervise

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxFrame bounds one message in either direction: a task's arguments and environment, or the list
// of all tasks.
const maxFrame = 8 << 20

type verb string

const (
	verbHello  verb = "hello"
	verbReady  verb = "ready"
	verbStart  verb = "start"
	verbSignal verb = "signal"
	verbKill   verb = "kill"
	verbList   verb = "list"
	verbForget verb = "forget"
	verbStats  verb = "stats"
	verbGuard  verb = "guard"
)

// request is what the agent sends. Every request may be carried out twice without harm, except
// signal: an exec in place carries out again what had no reply yet.
type request struct {
	ID     uint64
	Verb   verb
	Task   string `json:",omitempty"`
	Signal int    `json:",omitempty"`
	Spec   *Spec  `json:",omitempty"`
	Guard  *guard `json:",omitempty"`
}

// reply is what the supervisor sends: the answer to the request with its ID or, with ID 0, an exit
// nobody asked for.
type reply struct {
	ID     uint64     `json:",omitempty"`
	Error  *wireError `json:",omitempty"`
	Status *Status    `json:",omitempty"`
	List   []Status   `json:",omitempty"`
	Stats  *Stats     `json:",omitempty"`
	Hello  *hello     `json:",omitempty"`
	Fallen []string   `json:",omitempty"` // allocations that the fence has killed
}

// hello is what an agent needs to know of its supervisor.
type hello struct {
	Dir  string
	PID  int
	Mode Mode
}

// wireError carries an error over the connection; errors.Is works on the other side for the three
// errors of this package.
type wireError struct {
	Code string `json:",omitempty"`
	Text string
}

func (e *wireError) Error() string { return e.Text }

func (e *wireError) Is(target error) bool {
	return e.Code != "" && e.Code == codeOf(target)
}

func codeOf(err error) string {
	switch {
	case errors.Is(err, ErrUnknownTask):
		return "unknown"
	case errors.Is(err, ErrEnded):
		return "ended"
	case errors.Is(err, ErrFenced):
		return "fenced"
	}
	return ""
}

func toWire(err error) *wireError {
	if err == nil {
		return nil
	}
	return &wireError{Code: codeOf(err), Text: err.Error()}
}

// encodeFrame returns v as one message: four bytes of length, big-endian, then JSON.
func encodeFrame(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	if len(body) > maxFrame {
		return nil, fmt.Errorf("encode message: %d bytes are more than the %d that fit", len(body), maxFrame)
	}
	frame := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	return append(frame, body...), nil
}

// frames cuts a stream of bytes into messages. What was read and is not yet a whole message stays
// in rest, so that reading can go on after an error of the reader that passes, or elsewhere.
type frames struct {
	from io.Reader
	rest []byte
}

// next returns the next message's body, which the caller owns.
func (f *frames) next() ([]byte, error) {
	for {
		want := 4
		if len(f.rest) >= 4 {
			n := binary.BigEndian.Uint32(f.rest)
			if n > maxFrame {
				return nil, fmt.Errorf("read message: it claims %d bytes, more than the %d allowed", n, maxFrame)
			}
			want = 4 + int(n)
			if len(f.rest) >= want {
				return f.take(want), nil
			}
		}
		// Memory follows what arrives, not what a length claims.
		room := min(max(want-len(f.rest), 512), 64<<10)
		old := len(f.rest)
		f.rest = append(f.rest, make([]byte, room)...)
		n, err := f.from.Read(f.rest[old:])
		f.rest = f.rest[:old+n]
		if err != nil && n == 0 {
			return nil, err
		}
	}
}

func (f *frames) take(n int) []byte {
	body := f.rest[4:n:n]
	rest := f.rest[n:]
	f.rest = nil
	if len(rest) > 0 {
		f.rest = append([]byte(nil), rest...)
	}
	return body
}
