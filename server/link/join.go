package link

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/pki"
)

// The paths of protocol join/1, both POST. Who asks proves with the certificate of the handshake which key is its own.
const (
	PathJoin  = "/join"  // JoinRequest to JoinAnswer; the certificate says nothing but the key
	PathRenew = "/renew" // nothing to RenewAnswer; the certificate is the node's, however old
)

const (
	joinTimeout   = 20 * time.Second // of one question to one server: it may wait for a leader
	maxJoinAnswer = 256 << 10
	// firstJoinPause and longestJoinPause are between two rounds of all servers; each is twice the one before.
	firstJoinPause   = 500 * time.Millisecond
	longestJoinPause = 5 * time.Second
	// clockTolerance is how far a joiner's clock may be off without a word about it.
	clockTolerance = time.Minute
)

// JoinRequest is what a node says that wants to join.
type JoinRequest struct {
	Node   cluster.ID
	Name   string
	Role   pki.Role
	Token  string // Token.Name
	Secret []byte // of the token
}

// JoinAnswer makes it a member.
type JoinAnswer struct {
	Certificate string // the node's, PEM
	Authority   string // the cluster's, PEM
	Servers     []ServerAddress
	Keyring     cluster.Keyring
	Time        int64 // the server's clock, unix nanoseconds
}

// RenewAnswer is a node's new certificate.
type RenewAnswer struct {
	Certificate string // PEM
	Time        int64  // the server's clock, unix nanoseconds
}

// DialFunc connects to an address.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// JoinConfig is what Join needs.
type JoinConfig struct {
	Token  Token
	Node   cluster.ID
	Name   string
	Role   pki.Role
	Dir    string   // where the identity will be
	Dial   DialFunc // nil: the machine's network
	Logger *slog.Logger
}

// errForeign says that a server of another cluster answers.
var errForeign = errors.New("a server of another cluster answers there")

// Join makes this node a member of the token's cluster and leaves its identity, keyring and servers in the directory. It
// tries all servers again and again until one has decided or ctx ends. To call it again after a failure does no harm: the
// node's key is kept, and by it the servers know that the node has joined already.
func Join(ctx context.Context, c JoinConfig) (*Identity, error) {
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	if c.Role == pki.RoleServer && c.Token.Role == pki.RoleClient {
		return nil, cluster.Errorf(cluster.CodeInvalid, "join cluster: the token is for a client and this node is to be a server: "+
			"use one from `cluster join-token server`, or switch the server off with `server { enabled = false }`")
	}
	if c.Role != c.Token.Role {
		return nil, cluster.Errorf(cluster.CodeInvalid, "join cluster: the token is for a server and this node is to be a client: use one from `cluster join-token client`")
	}
	key, err := c.key()
	if err != nil {
		return nil, fmt.Errorf("join cluster: %w", err)
	}
	proof, err := pki.SelfSigned(key)
	if err != nil {
		return nil, fmt.Errorf("join cluster: %w", err)
	}
	request := JoinRequest{Node: c.Node, Name: c.Name, Role: c.Role, Token: c.Token.Name(), Secret: c.Token.Secret[:]}
	var answer JoinAnswer
	began := time.Now()
	ask := stranger{dial: c.Dial, fingerprint: c.Token.Authority, proof: &proof}
	err = c.persist(ctx, func(address string) error {
		began = time.Now()
		return ask.post(ctx, address, PathJoin, request, &answer)
	})
	if err != nil {
		return nil, err
	}
	if words := ClockWords(time.Unix(0, answer.Time), began, time.Now()); words != "" {
		c.Logger.Warn("joined the cluster, but " + words)
	}
	return c.settle(answer, key, proof.Leaf)
}

// persist asks one server after another until one decides.
func (c *JoinConfig) persist(ctx context.Context, ask func(address string) error) error {
	rest, told := firstJoinPause, false
	for {
		var faults []string
		var last error
		foreign := 0
		for _, address := range c.Token.Addresses {
			last = ask(address)
			switch {
			case last == nil:
				return nil
			case errors.Is(last, errForeign):
				foreign++
			case cluster.CodeOf(last) != cluster.CodeUnavailable:
				return fmt.Errorf("join cluster: %w", last)
			}
			faults = append(faults, fmt.Sprintf("%s: %v", address, last))
		}
		all := strings.Join(faults, "; ")
		if foreign == len(c.Token.Addresses) {
			return cluster.Errorf(cluster.CodeRejected, "join cluster: %s: the token is of a cluster that is no longer at that address, or another one took its place: "+
				"make a token where the cluster is now", all)
		}
		if !told {
			told = true
			c.Logger.Warn("no server of the token lets this node join yet, trying again", "err", all)
		}
		pause(ctx, rest)
		if ctx.Err() != nil {
			return cluster.Errorf(cluster.CodeUnavailable, "join cluster: no server of the token answered: %s: see that one of them runs and that this machine reaches its port", all)
		}
		rest = min(2*rest, longestJoinPause)
	}
}

// key is the node's own, which is kept when joining has to be tried again.
func (c *JoinConfig) key() ([]byte, error) {
	path := filepath.Join(c.Dir, fileKey)
	key, err := os.ReadFile(path)
	if err == nil {
		if _, err = pki.SelfSigned(key); err == nil {
			return key, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read node key: %w", err)
	}
	key, _, err = pki.NewKey()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("write node key: %w", err)
	}
	if err := WriteFile(path, key); err != nil {
		return nil, fmt.Errorf("write node key: %w", err)
	}
	return key, nil
}

// settle checks what a server answered and writes it down. The certificate is last: it says that all is there.
func (c *JoinConfig) settle(answer JoinAnswer, key []byte, proof *x509.Certificate) (*Identity, error) {
	authority, err := pki.ParseCertificate([]byte(answer.Authority))
	if err != nil || pki.Fingerprint(authority) != c.Token.Authority || authority.CheckSignatureFrom(authority) != nil {
		return nil, fmt.Errorf("join cluster: the server sent an authority that is not the token's")
	}
	leaf, err := pki.ParseCertificate([]byte(answer.Certificate))
	if err != nil {
		return nil, fmt.Errorf("join cluster: %w", err)
	}
	id, role, ok := pki.Identity(leaf)
	if !ok || id != c.Node || role != c.Role || leaf.CheckSignatureFrom(authority) != nil || !bytes.Equal(leaf.RawSubjectPublicKeyInfo, proof.RawSubjectPublicKeyInfo) {
		return nil, fmt.Errorf("join cluster: the server sent a certificate that is not for this node")
	}
	if !answer.Keyring.Valid() {
		return nil, fmt.Errorf("join cluster: the server sent no gossip keys that can be used")
	}
	if err := errors.Join(WriteKeyring(c.Dir, answer.Keyring), WriteServers(c.Dir, answer.Servers)); err != nil {
		return nil, fmt.Errorf("join cluster: %w", err)
	}
	if err := WriteIdentity(c.Dir, pki.PEM(authority), key, pki.PEM(leaf)); err != nil {
		return nil, fmt.Errorf("join cluster: %w", err)
	}
	return OpenIdentity(c.Dir)
}

// ClockWords says how far this machine's clock is from a server's, which told its time between two moments; "" if that is
// no matter.
func ClockWords(server, asked, answered time.Time) string {
	middle := asked.Add(answered.Sub(asked) / 2).Round(0)
	behind := server.Sub(middle)
	if behind.Abs() <= clockTolerance {
		return ""
	}
	direction := "behind"
	if behind < 0 {
		direction = "ahead of"
	}
	return fmt.Sprintf("this machine's clock is %s %s the servers': set it (NTP), or certificates and logs will be judged by the wrong time", roughly(behind.Abs()), direction)
}

// roughly is a long time in two units.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 365*day:
		return fmt.Sprintf("%d years and %d days", d/(365*day), d%(365*day)/day)
	case d >= day:
		return fmt.Sprintf("%d days and %d hours", d/day, d%day/time.Hour)
	}
	return d.Round(time.Second).String()
}

// stranger asks servers over join/1.
type stranger struct {
	dial        DialFunc
	fingerprint [sha256.Size]byte // of the authority
	proof       *tls.Certificate
}

// post asks the server at the address. A server that does not decide now has CodeUnavailable, one of another cluster
// errForeign; else the error is the server's own.
func (s *stranger) post(ctx context.Context, address, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	conn, err := s.connect(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	answer, err := exchange(ctx, conn, path, in)
	if err != nil {
		return cluster.Errorf(cluster.CodeUnavailable, "%w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxJoinAnswer))
	if err != nil {
		return cluster.Errorf(cluster.CodeUnavailable, "read answer: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		code := cluster.Code(answer.Header.Get(cluster.HeaderError))
		if code == cluster.CodeInternal {
			code = cluster.CodeUnavailable
		}
		return cluster.Errorf(code, "%.1000s", strings.TrimSpace(string(text)))
	}
	if err := json.Unmarshal(text, out); err != nil {
		return cluster.Errorf(cluster.CodeUnavailable, "read answer: %w", err)
	}
	return nil
}

// exchange sends one request and reads the head of the answer.
func exchange(ctx context.Context, conn net.Conn, path string, in any) (*http.Response, error) {
	text, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://cluster"+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	request.Close = true
	if err := request.Write(conn); err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, 2*maxJoinAnswer)), request)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return answer, nil
}

// connect shakes hands with the server at the address, whose chain must lead to the authority of the fingerprint. Times play
// no part: this machine's clock may be years off.
func (s *stranger) connect(ctx context.Context, address string) (net.Conn, error) {
	raw, err := s.dial(ctx, "tcp", address)
	if err != nil {
		return nil, cluster.Errorf(cluster.CodeUnavailable, "%w", err)
	}
	conn := tls.Client(raw, &tls.Config{
		MinVersion:           tls.VersionTLS13,
		NextProtos:           []string{ProtocolJoin},
		InsecureSkipVerify:   true, // VerifyConnection checks the chain
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.proof, nil },
		VerifyConnection:     s.verify,
	})
	limited, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(limited); err != nil {
		raw.Close()
		if errors.Is(err, errForeign) {
			return nil, errForeign
		}
		return nil, cluster.Errorf(cluster.CodeUnavailable, "shake hands: %w", err)
	}
	return conn, nil
}

func (s *stranger) verify(state tls.ConnectionState) error {
	chain := state.PeerCertificates
	if state.NegotiatedProtocol != ProtocolJoin || len(chain) != 2 {
		return errors.New("that is no server of a cluster")
	}
	leaf, authority := chain[0], chain[1]
	if pki.Fingerprint(authority) != s.fingerprint {
		return errForeign
	}
	if authority.CheckSignatureFrom(authority) != nil || leaf.CheckSignatureFrom(authority) != nil {
		return errors.New("its certificate is forged")
	}
	if _, role, ok := pki.Identity(leaf); !ok || role != pki.RoleServer {
		return errors.New("that node is no server: only servers let nodes join")
	}
	return nil
}
