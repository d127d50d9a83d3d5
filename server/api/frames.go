package api

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/a43e60e4/cluster"
)

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
func (f *Frames) Next() (cluster.FileFrame, error) {
	for {
		var frame cluster.FileFrame
		if err := f.decoder.Decode(&frame); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = cluster.Errorf(cluster.CodeUnavailable, "read log stream: it broke off: %w", err)
			}
			return cluster.FileFrame{}, err
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
