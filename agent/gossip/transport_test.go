package gossip

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a43e60e4/cluster/agent/gossip/gossiptest"
)

var (
	here  = netip.MustParseAddrPort("10.0.0.1:4648")
	there = netip.MustParseAddrPort("10.0.0.2:4648")
)

// Others can open so many streams, of so many bytes and for so long, and no more.
func TestStreamsAreBounded(t *testing.T) {
	gossiptest.Bubble(t, func(t *testing.T) {
		n := gossiptest.New(1)
		other := n.Open(there)
		d := newDoor(n.Open(here))
		defer d.Shutdown()
		go func() {
			for range d.StreamCh() {
			}
		}()
		var open []net.Conn
		for range maxStreams + 20 {
			conn, err := other.DialTimeout(here.String(), time.Second)
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, conn)
			synctest.Wait()
		}
		d.mu.Lock()
		inbound, refused := d.inbound, d.refused
		d.mu.Unlock()
		if inbound != maxStreams || refused != 20 {
			t.Errorf("%d streams are open, %d refused", inbound, refused)
		}
		time.Sleep(streamLife + time.Second)
		d.mu.Lock()
		inbound = d.inbound
		d.mu.Unlock()
		if inbound != 0 {
			t.Errorf("%d streams are open after their time", inbound)
		}
		if _, err := open[0].Read(make([]byte, 1)); err == nil {
			t.Error("a stream is open after its time")
		}
		close(d.streams)
	})
}

func TestStreamsReadSoMuchAndNoMore(t *testing.T) {
	gossiptest.Bubble(t, func(t *testing.T) {
		n := gossiptest.New(1)
		other := n.Open(there)
		d := newDoor(n.Open(here))
		conn, err := other.DialTimeout(here.String(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		s := <-d.StreamCh()
		go func() {
			for b := make([]byte, 1<<16); ; {
				if _, err := conn.Write(b); err != nil {
					return
				}
			}
		}()
		got, err := io.Copy(io.Discard, s)
		if got != maxStreamRead || err == nil {
			t.Errorf("read %d bytes: %v", got, err)
		}
		d.Shutdown()
	})
}
