package server

import (
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

const (
	// readPatience is how long a caller may take to send a body.
	readPatience = 30 * time.Second
	// drainLimit is how much of a body that is refused is read all the same, so that the caller sees why.
	drainLimit = 16 << 20
)

// decode reads the request's JSON body of at most api.MaxBody bytes into value; what names it in errors.
// An empty body has CodeInvalid.
func (r *request) decode(what string, value any) error {
	return r.decodeUpTo(api.MaxBody, what, value)
}

func (r *request) decodeUpTo(limit int64, what string, value any) error {
	text, err := r.body(what, limit)
	if err != nil {
		return err
	}
	if len(text) == 0 {
		return cluster.Errorf(cluster.CodeInvalid, "Request body is empty")
	}
	return decodeJSON(what, text, value)
}

// decodeIfAny is decode for a body that may be missing.
func (r *request) decodeIfAny(what string, value any) error {
	text, err := r.body(what, api.MaxBody)
	if err != nil || len(text) == 0 {
		return err
	}
	return decodeJSON(what, text, value)
}

func decodeJSON(what string, text []byte, value any) error {
	if err := json.Unmarshal(text, value); err != nil {
		return cluster.Errorf(cluster.CodeInvalid, "read %s: %w", what, err)
	}
	return nil
}

// body is the request's whole body. The time that the caller has for it began with the request; where it was not enough
// the connection is of no further use, and its deadline stays as it is.
func (r *request) body(what string, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		io.CopyN(io.Discard, r.Body, drainLimit)
		return nil, cluster.Errorf(cluster.CodeTooLarge, "read %s: %.1f MB is over the limit of %d MB", what, float64(r.ContentLength)/(1<<20), limit>>20)
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, cluster.Errorf(cluster.CodeInvalid, "read %s: %w", what, err)
	}
	if int64(len(text)) > limit {
		io.CopyN(io.Discard, r.Body, drainLimit)
		return nil, cluster.Errorf(cluster.CodeTooLarge, "read %s: it is over the limit of %d MB", what, limit>>20)
	}
	r.endBody()
	return text, nil
}

// beginBody gives the caller readPatience to send the body, if there is one. Not every connection has deadlines: one
// within the process has none and needs none.
func (w *reply) beginBody(hr *http.Request) {
	if hr.ContentLength != 0 {
		_ = w.control.SetReadDeadline(time.Now().Add(readPatience))
	}
}

// endBody takes the deadline away when the body is there, or it would end the request.
func (r *request) endBody() {
	if r.ContentLength != 0 {
		_ = r.control.SetReadDeadline(time.Time{})
	}
}
