package link

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/pki"
)

func TestStandingsTravelAsOneByte(t *testing.T) {
	for _, status := range standings {
		for bits := range 8 {
			want := Standing{Status: status, Leader: bits&1 != 0, Unknown: bits&2 != 0, Passed: bits&4 != 0}
			if got := decodeStanding(want.encode()); got != want {
				t.Errorf("%+v arrives as %+v", want, got)
			}
		}
	}
	for b := range 256 {
		decodeStanding(byte(b)) // whatever comes
	}
}

func TestLeasesAreRenewedOverOneConnection(t *testing.T) {
	us := newCluster(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	counted := &counting{Listener: listener}
	port := NewPort(PortConfig{Listener: counted, Identity: us.identity(otherID, pki.RoleServer), Logger: slog.New(slog.DiscardHandler),
		MayRaft: func(cluster.ID) bool { return false }})
	wired, cut := context.WithCancel(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	var renewed atomic.Int32
	go func() { ended <- port.Run(wired) }()
	go func() {
		ended <- ServeBeats(ctx, port.Beats(), func(_ context.Context, id cluster.ID, pass bool) (Standing, error) {
			if id != nodeID {
				t.Errorf("node %s renews", id)
			}
			if renewed.Add(1) == 4 {
				return Standing{}, context.Canceled
			}
			return Standing{Status: cluster.NodeStatusReady, Leader: true}, nil
		})
	}()
	dialer := NewDialer(DialerConfig{Identity: us.identity(nodeID, pki.RoleClient),
		Address: func(cluster.ID) (string, bool) { return listener.Addr().String(), true }})
	beater := dialer.Beater(otherID)
	want := Standing{Status: cluster.NodeStatusReady, Leader: true}
	for range 3 {
		if got, err := beater.Beat(ctx, false); err != nil || got != want {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if n := counted.conns.Load(); n != 1 {
		t.Errorf("three heartbeats took %d connections", n)
	}
	if _, err := beater.Beat(ctx, false); err == nil {
		t.Error("a renewal that failed is taken for one")
	}
	if got, err := beater.Beat(ctx, false); err != nil || got != want {
		t.Errorf("over a new connection: %+v, %v", got, err)
	}
	if n := counted.conns.Load(); n != 2 {
		t.Errorf("the fifth heartbeat took connection %d, want the second", n)
	}
	cancel() // the port goes on
	if err := <-ended; err != nil {
		t.Error(err)
	}
	cut()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := beater.Beat(t.Context(), false); err == nil {
		t.Error("a server that has ended answers")
	}
	beater.Close()
}

// counting counts the connections that it accepts.
type counting struct {
	net.Listener
	conns atomic.Int32
}

func (c *counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.conns.Add(1)
	}
	return conn, err
}
