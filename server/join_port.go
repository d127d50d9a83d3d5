package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/pki"
)

const (
	maxJoinRequest = 16 << 10 // bytes of a body
	joinReadTime   = 5 * time.Second
	joinWriteTime  = 15 * time.Second
	joinEnding     = time.Second
	// maxStrangers and maxStrangersPerHost bound the connections of strangers after their handshakes. What comes beyond
	// is closed at once; who wants to join tries again. Many nodes may stand behind one address.
	maxStrangers, maxStrangersPerHost = 256, 32
	refusalInterval                   = time.Minute // between two lines of the log about refusals
)

// JoinPort answers strangers: nodes that want to join, and members whose certificate has expired.
type JoinPort struct {
	JoinPortConfig
	gate     gate
	crowd    *link.Crowd // who is connected
	refused  atomic.Uint64
	admitted atomic.Uint64
	quiet    quietness
}

// JoinPortConfig is what a JoinPort is made of.
type JoinPortConfig struct {
	Listener net.Listener // link.Port.Join
	Identity *link.Identity
	API      http.Handler // NewHandler's: it finds the leader
	Logger   *slog.Logger
}

// NewJoinPort makes a port that answers nothing before Run.
func NewJoinPort(c JoinPortConfig) *JoinPort {
	return &JoinPort{JoinPortConfig: c, crowd: link.NewCrowd(maxStrangers, maxStrangersPerHost)}
}

// Figures are for HTTPConfig.Figures.
func (p *JoinPort) Figures() []Figure {
	return []Figure{
		{Name: "cluster_join_admitted_total", Help: "Strangers that got a certificate from this server: nodes that joined or renewed an expired one.", Total: true, Value: float64(p.admitted.Load())},
		{Name: "cluster_join_refused_total", Help: "Strangers that this server refused: wrong tokens, floods and garbage.", Total: true, Value: float64(p.refused.Load())},
	}
}

// Run answers until ctx ends, and returns when the last answer has ended.
func (p *JoinPort) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+link.PathJoin, p.join)
	mux.HandleFunc("POST "+link.PathRenew, p.renew)
	server := &http.Server{
		Handler: mux, ReadTimeout: joinReadTime, WriteTimeout: joinWriteTime, MaxHeaderBytes: 4 << 10,
		ErrorLog:    slog.NewLogLogger(p.Logger.Handler(), slog.LevelDebug),
		BaseContext: baseContext(ctx),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, strangerKey{}, conn)
		},
	}
	server.SetKeepAlivesEnabled(false)
	served := make(chan error, 1)
	go func() { served <- server.Serve(strangers{p.Listener, p}) }()
	select {
	case <-ctx.Done():
	case err := <-served:
		if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("answer strangers: %w", err)
		}
		served <- err
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), joinEnding)
	defer cancel()
	if server.Shutdown(limited) != nil {
		server.Close()
	}
	<-served
	return nil
}

// strangers are the port's connections, as many as may be at once. They hide from http.Server that they are TLS: it would look
// for its own protocols in them.
type strangers struct {
	net.Listener
	port *JoinPort
}

// Accept waits for the next connection for which there is room.
func (l strangers) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host := link.HostOf(conn.RemoteAddr())
		if l.port.crowd.Enter(host) {
			return &plainConn{Conn: conn, leave: func() { l.port.crowd.Leave(host) }}, nil
		}
		l.port.refused.Add(1)
		l.port.Logger.Debug("connection refused: too many of those who want to join", "peer", host.String())
		conn.Close()
	}
}

// plainConn is a stranger's connection.
type plainConn struct {
	net.Conn
	leave func()
	once  sync.Once // calls leave
}

// Close ends the connection and makes room for another.
func (c *plainConn) Close() error {
	defer c.once.Do(c.leave)
	return c.Conn.Close()
}

type strangerKey struct{}

// shown is the certificate with which the caller shook hands; its key is the caller's, all else is what it says.
func shown(r *http.Request) (*x509.Certificate, error) {
	if conn, ok := r.Context().Value(strangerKey{}).(*plainConn); ok {
		if t, ok := conn.Conn.(*tls.Conn); ok {
			if chain := t.ConnectionState().PeerCertificates; len(chain) > 0 {
				return chain[0], nil
			}
		}
	}
	return nil, cluster.Errorf(cluster.CodeForbidden, "the caller shows no key of its own")
}

func (p *JoinPort) join(w http.ResponseWriter, r *http.Request) {
	p.answer(w, r, func(certificate *x509.Certificate) (*http.Request, error) {
		asked, err := readJoin(http.MaxBytesReader(w, r.Body, maxJoinRequest))
		if err != nil {
			return nil, err
		}
		hash := sha256.Sum256(asked.Secret)
		text, err := json.Marshal(admission{Node: asked.Node, Name: asked.Name, Role: asked.Role, Token: asked.Token, Hash: hash[:], Key: certificate.RawSubjectPublicKeyInfo})
		if err != nil {
			return nil, err
		}
		return http.NewRequestWithContext(asServer(within(r), p.Identity.ID()), http.MethodPut, api.NodeAdmit.Path, bytes.NewReader(text))
	})
}

// within is the context of a request that this process makes for the stranger: it came in at no address of people's.
func within(r *http.Request) context.Context {
	return context.WithValue(r.Context(), http.LocalAddrContextKey, nil)
}

// readJoin reads what a stranger sent. Unknown fields are for newer versions.
func readJoin(body io.Reader) (link.JoinRequest, error) {
	var asked link.JoinRequest
	text, err := io.ReadAll(body)
	if err == nil {
		err = json.Unmarshal(text, &asked)
	}
	if err != nil {
		return link.JoinRequest{}, cluster.Errorf(cluster.CodeInvalid, "join: that is no request to join")
	}
	return asked, nil
}

// renew gives a member a certificate in place of one that may have expired: of it only who issued it counts, and that the
// caller has its key.
func (p *JoinPort) renew(w http.ResponseWriter, r *http.Request) {
	p.answer(w, r, func(certificate *x509.Certificate) (*http.Request, error) {
		node, _, ok := pki.Identity(certificate)
		if !ok || certificate.CheckSignatureFrom(p.Identity.Authority()) != nil {
			return nil, cluster.Errorf(cluster.CodeForbidden, "the caller's certificate is not one of this cluster")
		}
		text, err := json.Marshal(api.SelfRenewRequest{Key: certificate.RawSubjectPublicKeyInfo})
		if err != nil {
			return nil, err
		}
		return http.NewRequestWithContext(AsNode(within(r), node), http.MethodPut, api.SelfRenew.URL(node.String()), bytes.NewReader(text))
	})
}

// answer has the leader answer what the stranger's request comes to.
func (p *JoinPort) answer(w http.ResponseWriter, r *http.Request, translate func(*x509.Certificate) (*http.Request, error)) {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	host := hostOf(from.Addr())
	if wait := p.gate.pass(host, time.Now()); wait > 0 {
		p.refuse(w, host, cluster.Errorf(cluster.CodeUnavailable, "too many requests to join from %s: wait %s", host, wait.Round(time.Millisecond)))
		return
	}
	certificate, err := shown(r)
	if err != nil {
		p.refuse(w, host, err)
		return
	}
	inner, err := translate(certificate)
	if err != nil {
		p.refuse(w, host, err)
		return
	}
	out := newRecord()
	p.API.ServeHTTP(out, inner)
	if out.status != http.StatusOK {
		code := cluster.Code(out.header.Get(cluster.HeaderError))
		if code == cluster.CodeForbidden {
			p.gate.wrong(host, time.Now())
		}
		p.refuse(w, host, cluster.Errorf(code, "%s", out.body.String()))
		return
	}
	p.gate.right(host)
	p.admitted.Add(1)
	w.Header().Set("Content-Type", "application/json")
	w.Write(out.body.Bytes())
}

// refuse tells the caller why, counts it, and tells the operator, though not too often.
func (p *JoinPort) refuse(w http.ResponseWriter, host netip.Addr, err error) {
	p.refused.Add(1)
	if more, speak := p.quiet.broken(time.Now()); speak {
		p.Logger.Warn("somebody was refused who wanted to join or to renew a certificate", "peer", host.String(), "err", err, "dropped", more)
	}
	code := cluster.CodeOf(err)
	if code != cluster.CodeInternal {
		w.Header().Set(cluster.HeaderError, string(code))
	}
	w.WriteHeader(code.Status())
	io.WriteString(w, err.Error())
}

// quietness lets one line through in refusalInterval.
type quietness struct {
	mu   sync.Mutex // guards what follows
	last time.Time
	more int
}

// broken counts a line and reports whether it should be said, and how many were not since the last.
func (s *quietness) broken(now time.Time) (more int, speak bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && now.Sub(s.last) < refusalInterval {
		s.more++
		return 0, false
	}
	more, s.more, s.last = s.more, 0, now
	return more, true
}

// record is an answer within the process.
type record struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newRecord() *record { return &record{header: http.Header{}, status: http.StatusOK} }

func (r *record) Header() http.Header         { return r.header }
func (r *record) WriteHeader(status int)      { r.status = status }
func (r *record) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *record) Flush()                      {}
