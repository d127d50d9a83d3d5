// Package pki is the cluster's own certificate authority: it makes the authority, issues the certificates of nodes,
// and seals the authority's key for the replicated state.
//
// Where time matters it is an argument; functions are pure but for the random numbers that keys need.
package pki

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
)

const (
	// LeafLifetime is how long a node's certificate is valid. It is renewed at half of it.
	LeafLifetime = 30 * 24 * time.Hour
	// clockTolerance is how far back a certificate's validity begins, for nodes whose clocks are behind.
	clockTolerance = time.Hour
)

// Role is what a node's certificate lets it do.
type Role string

// The roles.
const (
	RoleServer Role = "server" // may speak Raft, if its ID is a member
	RoleClient Role = "client" // may use its own node's routes
)

// Authority is a certificate authority: the certificate that all nodes trust, and its key.
type Authority struct {
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// endOfTime is how RFC 5280 (4.1.2.5) writes that a certificate does not expire. The authority is the cluster's
// identity, and it must not matter what the clock of the machine that made it said: some wake up in 1970.
var endOfTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// NewAuthority makes an authority for the cluster of that ID.
func NewAuthority(clusterID cluster.ID) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make authority key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "cluster " + clusterID.String()},
		NotBefore:             time.Unix(0, 0),
		NotAfter:              endOfTime,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make authority certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make authority certificate: %w", err)
	}
	return &Authority{certificate, key}, nil
}

// ClusterID is the ID of the cluster whose authority's certificate this is, zero if it is none.
func ClusterID(authority *x509.Certificate) cluster.ID {
	name, _ := strings.CutPrefix(authority.Subject.CommonName, "cluster ")
	id, err := cluster.ParseID(name)
	if err != nil {
		return cluster.ID{}
	}
	return id
}

// Fingerprint is the SHA-256 of a certificate's public key. That of an authority names a cluster beyond doubt.
func Fingerprint(certificate *x509.Certificate) [sha256.Size]byte {
	return sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
}

// ParsePublic reads a node's public key (DER), which must be of the kind that NewKey makes.
func ParsePublic(der []byte) (*ecdsa.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	public, ok := key.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, fmt.Errorf("read public key: unexpected kind of key %T", key)
	}
	return public, nil
}

// SelfSigned is a certificate that says nothing but which key (PEM) its holder has. Who shakes hands with it proves that.
func SelfSigned(keyPEM []byte) (tls.Certificate, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return tls.Certificate{}, fmt.Errorf("read node key: no PEM block")
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read node key: %w", err)
	}
	key, ok := private.(*ecdsa.PrivateKey)
	if !ok {
		return tls.Certificate{}, fmt.Errorf("read node key: unexpected kind of key %T", private)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stranger"}, NotBefore: time.Unix(0, 0), NotAfter: endOfTime}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("prove node key: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("prove node key: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// PEM is the authority's certificate, which is no secret.
func (a *Authority) PEM() []byte { return PEM(a.Certificate) }

// PEM is a certificate as text.
func PEM(certificate *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
}

// Issue makes a certificate for a node's public key. The node's ID and role stand in a URI
// (cluster://<role>/<node ID>), which is what peers check; names and addresses play no part.
func (a *Authority) Issue(node cluster.ID, role Role, public *ecdsa.PublicKey, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("draw serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: node.String()},
		NotBefore:    now.Add(-clockTolerance),
		NotAfter:     now.Add(LeafLifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:         []*url.URL{{Scheme: "cluster", Host: string(role), Path: "/" + node.String()}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for node %s: %w", node, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// Identity is what a verified certificate says of its node. ok is false for a certificate of another kind.
func Identity(leaf *x509.Certificate) (node cluster.ID, role Role, ok bool) {
	if len(leaf.URIs) != 1 || leaf.URIs[0].Scheme != "cluster" || len(leaf.URIs[0].Path) < 2 {
		return cluster.ID{}, "", false
	}
	node, err := cluster.ParseID(leaf.URIs[0].Path[1:])
	if err != nil || node.IsZero() {
		return cluster.ID{}, "", false
	}
	role = Role(leaf.URIs[0].Host)
	return node, role, role == RoleServer || role == RoleClient
}

// NewKey makes a node's key, in PEM.
func NewKey() ([]byte, *ecdsa.PublicKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make node key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make node key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), &key.PublicKey, nil
}

// Derive is so many secret bytes that follow from the authority's key and the purpose: the same for whoever has the key, and for
// nobody else.
func (a *Authority) Derive(purpose string, length int) ([]byte, error) {
	secret, err := a.key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("derive from the authority's key: %w", err)
	}
	return hkdf.Key(sha256.New, secret, nil, purpose, length)
}

// Seal encrypts the authority's key with a server's own 32-byte key (AES-256-GCM), for the replicated state.
func (a *Authority) Seal(key []byte) ([]byte, error) {
	plain, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("seal authority key: %w", err)
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, fmt.Errorf("seal authority key: %w", err)
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, plain, a.Certificate.Raw), nil
}

// Unseal is the authority whose certificate (PEM) and sealed key these are.
func Unseal(certificatePEM, sealed, key []byte) (*Authority, error) {
	certificate, err := ParseCertificate(certificatePEM)
	if err != nil {
		return nil, fmt.Errorf("unseal authority key: %w", err)
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, fmt.Errorf("unseal authority key: %w", err)
	}
	if len(sealed) < aead.NonceSize() {
		return nil, fmt.Errorf("unseal authority key: %d bytes are too few", len(sealed))
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], certificate.Raw)
	if err != nil {
		return nil, fmt.Errorf("unseal authority key: it was sealed with another key: %w", err)
	}
	private, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, fmt.Errorf("unseal authority key: %w", err)
	}
	ec, ok := private.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("unseal authority key: unexpected kind of key %T", private)
	}
	return &Authority{certificate, ec}, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// ParseCertificate reads one certificate in PEM.
func ParseCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("read certificate: no PEM block of type CERTIFICATE")
	}
	return x509.ParseCertificate(block.Bytes)
}

// TLS is the configuration of a node on port 4647, both as server and as client: TLS 1.3, both sides show a
// certificate of the authority. Own is asked for the node's certificate at each handshake. Protocols are the ALPN names
// offered or accepted. A peer that shakes hands has shown a certificate that Identity understands; what its identity
// may do is for the caller to check: host names mean nothing here.
func TLS(authority *x509.Certificate, own func() *tls.Certificate, now func() time.Time, protocols ...string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own(), nil },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own(), nil },
		ClientAuth:           tls.RequireAnyClientCert,
		InsecureSkipVerify:   true, // names are not checked; VerifyConnection checks the chain and the identity
		NextProtos:           protocols,
		Time:                 now,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return fmt.Errorf("verify peer: it showed no certificate")
			}
			at := judgedAt(now(), own(), s.PeerCertificates[0])
			options := x509.VerifyOptions{Roots: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
			if _, err := s.PeerCertificates[0].Verify(options); err != nil {
				return fmt.Errorf("verify peer: %w", err)
			}
			if _, _, ok := Identity(s.PeerCertificates[0]); !ok {
				return fmt.Errorf("verify peer: its certificate names no node")
			}
			if s.NegotiatedProtocol == "" {
				return fmt.Errorf("verify peer: no common protocol among %v", protocols)
			}
			return nil
		},
	}
}

// judgedAt is the time by which a peer's certificate is judged: now, unless our own certificate, which the cluster keeps
// fresh, says that a clock is wrong, this machine's or its issuer's. Then a peer is believed also whose certificate is valid
// at some moment of ours. A certificate of a time to come is judged at its beginning: it tells of a wrong clock where it was
// issued, or here, and nobody gains by showing one early.
func judgedAt(now time.Time, own *tls.Certificate, peer *x509.Certificate) time.Time {
	at := now
	if own != nil && own.Leaf != nil && !valid(peer, now) && !valid(own.Leaf, now) && !peer.NotBefore.After(own.Leaf.NotAfter) {
		at = own.Leaf.NotBefore
	}
	if at.Before(peer.NotBefore) {
		at = peer.NotBefore
	}
	return at
}

// valid reports whether the certificate is, as far as time goes.
func valid(c *x509.Certificate, now time.Time) bool {
	return !now.Before(c.NotBefore) && !now.After(c.NotAfter)
}
