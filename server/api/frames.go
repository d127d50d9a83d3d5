package api

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/a43e60e4/cluster"
)

// Frame is a piece of a file that is being followed. A frame without anything is a heartbeat.
type Frame struct {
	Offset    int64  `json:",omitempty"` // where the data ends in File
	Data      []byte `json:",omitempty"` // at most 64 KiB
	File      string `json:",omitempty"` // relative to the allocation's directory; at the start and when it changes
	FileEvent string `json:",omitempty"` // "file deleted" or "file truncated"
}

// Heartbeat reports whether the frame says nothing but that the stream lives.
func (f Frame) Heartbeat() bool {
	return f.Offset == 0 && len(f.Data) == 0 && f.File == "" && f.FileEvent == ""
}

// Frames is a stream of frames, read either frame by frame or, as an io.Reader, as the bytes in them.
// It is for one goroutine.
type Frames struct {
	body    io.ReadCloser
	decoder *json.Decoder
	rest    []byte // of the last frame, not yet read
}

// NewFrames reads frames from body, which Close closes.
func NewFrames(body io.ReadCloser) *Frames {
	return &Frames{body: body, decoder: json.NewDecoder(body)}
}

// Next is the next frame that is not a heartbeat, io.EOF at the end.
func (f *Frames) Next() (Frame, error) {
	for {
		var frame Frame
		if err := f.decoder.Decode(&frame); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = cluster.Errorf(cluster.CodeUnavailable, "read log stream: it broke off: %w", err)
			}
			return Frame{}, err
		}
		if !frame.Heartbeat() {
			return frame, nil
		}
	}
}

// Read reads the data of the frames, one after another.
func (f *Frames) Read(p []byte) (int, error) {
	for len(f.rest) == 0 {
		frame, err := f.Next()
		if err != nil {
			return 0, err
		}
		f.rest = frame.Data
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// Close ends the stream.
func (f *Frames) Close() error { return f.body.Close() }
