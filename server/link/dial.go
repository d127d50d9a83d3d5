package link

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/pki"
)

// ErrUnsent says that of a request nothing was sent: it can be sent again, even if it writes.
var ErrUnsent = errors.New("nothing was sent")

const (
	dialTimeout = 3 * time.Second
	idle        = 90 * time.Second
	idlePerNode = 8
	maxMessage  = 64 << 10 // bytes of an error's text
)

// Dialer is the way to other nodes by their IDs. It may be used concurrently.
type Dialer struct {
	identity *Identity
	address  func(cluster.ID) (string, bool)
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	http     *http.Transport
}

// DialerConfig is what a Dialer is made of.
type DialerConfig struct {
	Identity *Identity
	// Address is where the node's port 4647 is, by the newest that is known; it is asked at each dial.
	Address func(cluster.ID) (hostPort string, known bool)
	// Dial connects; nil is the machine's network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// NewDialer makes one; it does not connect.
func NewDialer(c DialerConfig) *Dialer {
	d := &Dialer{identity: c.Identity, address: c.Address, dial: c.Dial}
	if d.dial == nil {
		d.dial = (&net.Dialer{Timeout: dialTimeout, KeepAliveConfig: keepAlive, Control: impatient}).DialContext
	}
	d.http = d.Transport()
	return d
}

// Address is where the node's port 4647 is, by the newest that is known.
func (d *Dialer) Address(id cluster.ID) (hostPort string, known bool) { return d.address(id) }

// keepAlive finds out about a peer that vanished while nothing was being sent.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}

// DialNode connects to the node's port 4647 and makes sure that it is that node which answers.
func (d *Dialer) DialNode(ctx context.Context, id cluster.ID, protocol string) (net.Conn, error) {
	address, known := d.address(id)
	if !known {
		return nil, cluster.Errorf(cluster.CodeUnavailable, "reach node %s: its address is not known", id)
	}
	conn, err := d.DialAddress(ctx, address, protocol)
	if err != nil {
		return nil, cluster.Errorf(cluster.CodeUnavailable, "reach node %s: %w", id, err)
	}
	if there, role := conn.Peer(); there != id {
		conn.Close()
		return nil, cluster.Errorf(cluster.CodeUnavailable, "reach node %s at %s: node %s answers there", id, address, there)
	} else if protocol == ProtocolRaft && role != pki.RoleServer {
		conn.Close()
		return nil, cluster.Errorf(cluster.CodeUnavailable, "reach server %s at %s: that node is no server", id, address)
	}
	return conn, nil
}

// Conn is a connection to a node of this cluster.
type Conn struct{ *tls.Conn }

// Peer is the node at the other end.
func (c Conn) Peer() (cluster.ID, pki.Role) {
	id, role, _ := pki.Identity(c.ConnectionState().PeerCertificates[0]) // pki.TLS has verified that there is one
	return id, role
}

// DialAddress connects to whichever node of this cluster has its port 4647 at the address.
func (d *Dialer) DialAddress(ctx context.Context, address, protocol string) (Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := d.dial(ctx, "tcp", address)
	if err != nil {
		return Conn{}, err
	}
	conn := tls.Client(raw, d.identity.TLS(protocol))
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return Conn{}, err
	}
	return Conn{conn}, nil
}

// Transport is an http.RoundTripper with connections of its own, for URLs https://<node ID>/….
func (d *Dialer) Transport() *http.Transport {
	return &http.Transport{
		DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			id, err := cluster.ParseID(host)
			if err != nil {
				return nil, err
			}
			conn, err := d.DialNode(ctx, id, ProtocolHTTP1)
			if err != nil {
				return nil, fmt.Errorf("%w (%w)", err, ErrUnsent)
			}
			return conn, nil
		},
		MaxIdleConnsPerHost: idlePerNode,
		IdleConnTimeout:     idle,
		DisableCompression:  true,
	}
}

// Close ends connections that nobody uses.
func (d *Dialer) Close() { d.http.CloseIdleConnections() }

// URL is the beginning of a node's URLs for Transport.
func URL(id cluster.ID) string { return "https://" + id.String() }

// Carry sends the request to the node's API and copies the answer as it comes. If it returns an error, nothing was
// written to w, and the node answered that it cannot answer now, or not at all; with errors.Is(err, ErrUnsent) nothing was
// sent either. It panics with http.ErrAbortHandler when the answer is
// cut off in the middle, so that half an answer does not look like a whole one.
func (d *Dialer) Carry(id cluster.ID, w http.ResponseWriter, r *http.Request) error {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.Host, out.RequestURI = "https", id.String(), id.String(), ""
	for _, name := range []string{"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		out.Header.Del(name)
	}
	answer, err := d.http.RoundTrip(out)
	if err != nil {
		return cluster.Errorf(cluster.CodeUnavailable, "ask node %s: %w", id, err)
	}
	defer answer.Body.Close()
	if answer.Header.Get(cluster.HeaderError) == string(cluster.CodeUnavailable) {
		text, err := io.ReadAll(io.LimitReader(answer.Body, maxMessage))
		if err != nil {
			return cluster.Errorf(cluster.CodeUnavailable, "ask node %s: %w", id, err)
		}
		return cluster.Errorf(cluster.CodeUnavailable, "%s", text)
	}
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	if err := copyNow(w, answer.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// Ask reads what the node has at the path, which is JSON, into value.
func (d *Dialer) Ask(ctx context.Context, id cluster.ID, path string, value any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, URL(id)+path, nil)
	if err != nil {
		return fmt.Errorf("ask node %s: %w", id, err)
	}
	answer, err := d.http.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("ask node %s: %w", id, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("ask node %s: it answered %s", id, answer.Status)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxMessage)).Decode(value); err != nil {
		return fmt.Errorf("ask node %s: %w", id, err)
	}
	return nil
}

// copyNow copies and passes on at once what has come: streams are read by people.
func copyNow(w http.ResponseWriter, from io.Reader) error {
	control := http.NewResponseController(w)
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return fmt.Errorf("pass on answer: %w", err)
			}
			if err := control.Flush(); err != nil {
				return fmt.Errorf("pass on answer: %w", err)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
