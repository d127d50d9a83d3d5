package main

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// loopback is a listener in memory: the agent speaks to the server in its own process by the same protocol as to
// any other, without a socket.
type loopback struct {
	name   string
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// newLoopback makes one; the name is its address.
func newLoopback(name string) *loopback {
	return &loopback{name: name, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept waits for the next Dial; net.ErrClosed after Close.
func (l *loopback) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial. It may be called several times.
func (l *loopback) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr is its name: there is no address.
func (l *loopback) Addr() net.Addr { return memoryAddress(l.name) }

// Dial connects to whoever accepts.
func (l *loopback) Dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// client is an HTTP client whose every request goes to the listener, whatever host it names.
func (l *loopback) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) },
	}}
}

type memoryAddress string

func (memoryAddress) Network() string  { return "memory" }
func (a memoryAddress) String() string { return string(a) }
