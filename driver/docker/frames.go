package docker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// maxFrame bounds one message of the engine's log; engines cut lines at 16 KiB, some log drivers at 1 MiB.
const maxFrame = 4 << 20

// The streams of a container, as frames number them.
const (
	streamStdout = 1
	streamStderr = 2
	streamError  = 3 // the engine's own: why it cannot go on
)

// message is one line of a container's output, or a part of a very long one.
type message struct {
	stream int
	time   time.Time // when the engine took it; parts of a line share it
	text   []byte    // valid until the next message is read
}

// frames reads the engine's log stream: each message is a header of 8 bytes (stream, three zeros, length, big-endian) and
// its text, which begins with a time in RFC 3339 and a space.
type frames struct {
	from io.Reader
	body []byte
}

// next returns the next message; io.EOF where the stream ends between two, another error elsewhere.
func (f *frames) next() (message, error) {
	var header [8]byte
	if _, err := io.ReadFull(f.from, header[:]); err != nil {
		if err == io.EOF {
			return message{}, io.EOF
		}
		return message{}, fmt.Errorf("read log frame: %w", err)
	}
	size := binary.BigEndian.Uint32(header[4:])
	if header[0] < streamStdout || header[0] > streamError || header[1]|header[2]|header[3] != 0 || size > maxFrame {
		return message{}, fmt.Errorf("read log frame: % x is no header of one", header)
	}
	if cap(f.body) < int(size) {
		f.body = make([]byte, size)
	}
	body := f.body[:size]
	if _, err := io.ReadFull(f.from, body); err != nil {
		return message{}, fmt.Errorf("read log frame: %w", noEOF(err))
	}
	if header[0] == streamError {
		return message{}, fmt.Errorf("read log: the Docker engine says: %s", bytes.TrimSpace(body))
	}
	stamp, text, _ := bytes.Cut(body, []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return message{}, fmt.Errorf("read log frame: no time before its text: %w", err)
	}
	return message{int(header[0]), at, text}, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
