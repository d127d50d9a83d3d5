package cluster

import (
	"errors"
	"fmt"
	"net/http"
)

// Code is the class of an error, the same in the process that raised it, on the wire and in the client.
type Code string

// The codes. An error without a code is CodeInternal.
const (
	CodeInternal    Code = ""            // a fault of ours or of the machine
	CodeInvalid     Code = "invalid"     // the input is wrong; retrying does not help
	CodeRejected    Code = "rejected"    // well-formed, but a rule of the cluster refuses it
	CodeNotFound    Code = "not_found"   // the thing named does not exist
	CodeForbidden   Code = "forbidden"   // the caller may not
	CodeConflict    Code = "conflict"    // somebody else changed it first
	CodeUnavailable Code = "unavailable" // no leader, no path to a node: try again
	CodeTooLarge    Code = "too_large"   // over a stated limit
	CodeMethod      Code = "method"      // the route exists, not for this method
)

// HeaderError is the header of an answer that carries an error's Code, where the status alone would not give it back.
const HeaderError = "X-Cluster-Error"

// HeaderRequestID is the header of a request that names what it wants done, so that sending it again does no harm.
const HeaderRequestID = "X-Request-Id"

// Status is the HTTP status that answers an error of the class.
func (c Code) Status() int {
	switch c {
	case CodeInvalid:
		return http.StatusBadRequest
	case CodeForbidden:
		return http.StatusForbidden
	case CodeNotFound:
		return http.StatusNotFound
	case CodeMethod:
		return http.StatusMethodNotAllowed
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusInternalServerError // as existing clients know it for refused jobs, conflicts and a missing leader
}

// Error is an error with a class. Its text is complete: callers print it as it is.
type Error struct {
	Code Code
	err  error
}

// Errorf makes an error of the given class. The format may wrap a cause with %w.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, err: fmt.Errorf(format, args...)}
}

func (e *Error) Error() string { return e.err.Error() }

// Unwrap is the cause, nil if there is none.
func (e *Error) Unwrap() error { return errors.Unwrap(e.err) }

// CodeOf is the class of the outermost classified error in the chain; CodeInternal for any other error.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
