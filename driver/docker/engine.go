package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"
)

var (
	// errAway is the cause of errors that say nothing of the task: the engine did not answer.
	errAway = errors.New("the Docker engine is away")
	// errAbsent is an errAway: the machine does not even have the engine's socket.
	errAbsent = fmt.Errorf("%w: there is none", errAway)
)

// engine is the connection to a Docker engine.
type engine struct {
	api   *client.Client
	limit time.Duration // for one call

	// The client asks for the engine's version before its first call, under a lock that no context interrupts; so
	// the driver asks itself, one at a time.
	greeted  atomic.Bool
	greeting chan struct{} // has one token: whose turn it is
}

func newEngine(o Options, limit time.Duration) (*engine, error) {
	opts := []client.Opt{client.FromEnv}
	if o.Endpoint != "" {
		opts = append(opts, client.WithHost(o.Endpoint))
	}
	if o.TLS != (tlsOptions{}) {
		opts = append(opts, client.WithTLSClientConfig(o.TLS.CA, o.TLS.Cert, o.TLS.Key))
	}
	api, err := client.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to the Docker engine: %w", err)
	}
	e := &engine{api: api, limit: limit, greeting: make(chan struct{}, 1)}
	e.greeting <- struct{}{}
	return e, nil
}

// call does one thing with the engine, which must answer in time.
func (e *engine) call(ctx context.Context, do func(context.Context) error) error {
	return e.callFor(ctx, e.limit, do)
}

func (e *engine) callFor(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := e.greet(bounded)
	if err == nil {
		err = do(bounded)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case bounded.Err() != nil:
		return fmt.Errorf("%w: %s did not answer within %v; see whether dockerd hangs", errAway, e.api.DaemonHost(), limit)
	}
	return e.explain(err)
}

// greet makes sure that the engine's version is known, so that calls can have a context of any length.
func (e *engine) greet(ctx context.Context) error {
	if e.greeted.Load() {
		return nil
	}
	select {
	case <-e.greeting:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { e.greeting <- struct{}{} }()
	if e.greeted.Load() {
		return nil
	}
	if _, err := e.api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return err
	}
	e.greeted.Store(true)
	return nil
}

// skipsLogs reports whether the engine, being followed, leaves out a log file when the next is full before it was read, or
// reads one twice. Those before version 23 (API 1.42) do.
func (e *engine) skipsLogs() bool {
	return e.greeted.Load() && versions.LessThan(e.api.ClientVersion(), "1.42")
}

// explain tells an engine that is not there from one that refused.
func (e *engine) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w at %s; is Docker installed, and dockerd running?", errAbsent, e.api.DaemonHost())
	case client.IsErrConnectionFailed(err):
		return fmt.Errorf("%w: %s cannot be reached; is dockerd running, and may the agent open it? (%v)", errAway, e.api.DaemonHost(), err)
	}
	return err
}

// The classes of what an engine refuses.
var (
	isMissing  = errdefs.IsNotFound
	isConflict = errdefs.IsConflict
	isInvalid  = errdefs.IsInvalidArgument
)
