package server

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections exist in memory alone, so that their deadlines run in fake time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// dial is a new connection to a server that answers as the world does. It ends with the test.
func (w *world) dial(t *testing.T) net.Conn {
	listener := &pipes{make(chan net.Conn), make(chan struct{})}
	server := HTTPServer(context.Background(), w.handler, slog.New(slog.DiscardHandler))
	go server.Serve(listener)
	ours, theirs := net.Pipe()
	listener.conns <- theirs
	t.Cleanup(func() {
		ours.Close()
		server.Close()
		synctest.Wait()
	})
	return ours
}

func TestCallersThatAreSlowDoNotStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newSilentWorld(t).dial(t)
		began := time.Now()
		io.WriteString(conn, "GET /v1/jobs HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		if _, err := io.ReadAll(conn); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("half a header kept a connection for %s", took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		conn := newSilentWorld(t).dial(t)
		began := time.Now()
		io.WriteString(conn, "PUT /v1/namespace HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 400 || !strings.HasPrefix(string(text), "read request: ") {
			t.Errorf("%d %s", resp.StatusCode, text)
		}
		if took := time.Since(began); took != readPatience {
			t.Errorf("half a body was waited for %s", took)
		}
	})
	for _, path := range []string{"/v1/jobs", "/v1/nothing", "/v1/vars", "/"} {
		synctest.Test(t, func(t *testing.T) {
			conn := newSilentWorld(t).dial(t)
			began := time.Now()
			io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{") // nobody reads it
			if _, err := io.ReadAll(conn); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 2*readPatience {
				t.Errorf("%s: half a body kept a connection for %s", path, took)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		conn := newSilentWorld(t).dial(t)
		io.WriteString(conn, "GET /v1/metrics HTTP/1.1\r\nHost: x\r\n\r\n")
		time.Sleep(2 * writePatience)
		if text, _ := io.ReadAll(conn); strings.Contains(string(text), "Samples") {
			t.Error("an answer nobody took was kept for ever")
		}
	})
}
