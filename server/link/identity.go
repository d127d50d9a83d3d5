package link

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/pki"
)

// The files of a node's identity, all 0600.
const (
	fileAuthority   = "ca.crt"   // the authority's certificate
	fileCertificate = "node.crt" // the node's own, issued by it; written last, it says that all is there
	fileKey         = "node.key"
)

// AdviceLost ends messages about files that only a copy can bring back.
const AdviceLost = "restore the file from a copy, or move the data directory away to begin anew"

// ErrNoIdentity says that a directory holds no identity yet: its node has not joined a cluster.
var ErrNoIdentity = errors.New("this node belongs to no cluster yet")

// Identity is who a node is, and whom it believes. Its methods may be called concurrently.
type Identity struct {
	dir         string
	id          cluster.ID
	role        pki.Role
	authority   *x509.Certificate
	key         *ecdsa.PrivateKey
	certificate atomic.Pointer[tls.Certificate]
}

// WriteIdentity stores an identity (all in PEM) in the directory, which it makes with mode 0700.
func WriteIdentity(dir string, authority, key, certificate []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	for _, file := range []struct {
		name string
		text []byte
	}{{fileAuthority, authority}, {fileKey, key}, {fileCertificate, certificate}} {
		if err := WriteFile(filepath.Join(dir, file.name), file.text); err != nil {
			return fmt.Errorf("write identity: %w", err)
		}
	}
	return nil
}

// HasIdentity reports whether the directory holds an identity, be it readable or not.
func HasIdentity(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, fileCertificate))
	return !errors.Is(err, fs.ErrNotExist)
}

// OpenIdentity reads the identity in the directory; ErrNoIdentity if there is none.
func OpenIdentity(dir string) (*Identity, error) {
	if !HasIdentity(dir) {
		return nil, fmt.Errorf("read identity in %s: %w", dir, ErrNoIdentity)
	}
	i := &Identity{dir: dir}
	path := filepath.Join(dir, fileAuthority)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read authority: %w: %s", err, AdviceLost)
	}
	if i.authority, err = pki.ParseCertificate(text); err != nil {
		return nil, fmt.Errorf("read authority %s: %w: %s", path, err, AdviceLost)
	}
	return i, i.load()
}

// load reads the node's certificate and key.
func (i *Identity) load() error {
	certificate, err := tls.LoadX509KeyPair(filepath.Join(i.dir, fileCertificate), filepath.Join(i.dir, fileKey))
	if err != nil {
		return fmt.Errorf("read node certificate in %s: %w: %s", i.dir, err, AdviceLost)
	}
	key, ok := certificate.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("read node key in %s: unexpected kind of key %T: %s", i.dir, certificate.PrivateKey, AdviceLost)
	}
	id, role, ok := pki.Identity(certificate.Leaf)
	if !ok {
		return fmt.Errorf("read node certificate in %s: it names no node: %s", i.dir, AdviceLost)
	}
	i.id, i.role, i.key = id, role, key
	i.certificate.Store(&certificate)
	return nil
}

// ID is the node's.
func (i *Identity) ID() cluster.ID { return i.id }

// Role is what the node's certificate lets it do.
func (i *Identity) Role() pki.Role { return i.role }

// Cluster is the ID of the cluster that the node belongs to.
func (i *Identity) Cluster() cluster.ID { return pki.ClusterID(i.authority) }

// Authority is the certificate of the cluster's authority.
func (i *Identity) Authority() *x509.Certificate { return i.authority }

// Leaf is the node's certificate as it is now.
func (i *Identity) Leaf() *x509.Certificate { return i.certificate.Load().Leaf }

// Public is the node's public key.
func (i *Identity) Public() *ecdsa.PublicKey { return &i.key.PublicKey }

// PublicDER is the node's public key, DER.
func (i *Identity) PublicDER() ([]byte, error) { return x509.MarshalPKIXPublicKey(i.Public()) }

// Dir is the directory that the identity is in.
func (i *Identity) Dir() string { return i.dir }

// Due reports whether the certificate should be renewed: half of its life is over, or it is of a time to come.
func (i *Identity) Due(now time.Time) bool {
	leaf := i.Leaf()
	return !now.Before(leaf.NotAfter.Add(-pki.LeafLifetime/2)) || now.Before(leaf.NotBefore)
}

// Install replaces the node's certificate by a new one (PEM) for the same key, on disk and for new connections.
func (i *Identity) Install(certificate []byte) error {
	leaf, err := pki.ParseCertificate(certificate)
	if err != nil {
		return fmt.Errorf("install node certificate: %w", err)
	}
	id, role, ok := pki.Identity(leaf)
	public, isEC := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || id != i.id || role != i.role || !isEC || !public.Equal(i.Public()) || leaf.CheckSignatureFrom(i.authority) != nil {
		return fmt.Errorf("install node certificate: it is not one of this node in this cluster")
	}
	if err := WriteFile(filepath.Join(i.dir, fileCertificate), certificate); err != nil {
		return fmt.Errorf("install node certificate: %w", err)
	}
	next := *i.certificate.Load()
	next.Certificate, next.Leaf = [][]byte{leaf.Raw}, leaf
	i.certificate.Store(&next)
	return nil
}

// TLS is the configuration for connections of the given protocols. It goes along when the certificate is renewed.
func (i *Identity) TLS(protocols ...string) *tls.Config {
	return pki.TLS(i.authority, i.certificate.Load, time.Now, protocols...)
}

// withAuthority is the node's certificate followed by the authority's: who joins has only the authority's fingerprint.
func (i *Identity) withAuthority(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	chain := *i.certificate.Load()
	chain.Certificate = [][]byte{chain.Leaf.Raw, i.authority.Raw}
	return &chain, nil
}

// Sign signs a SHA-256 digest with the node's key.
func (i *Identity) Sign(digest []byte) ([]byte, error) {
	return ecdsa.SignASN1(rand.Reader, i.key, digest)
}

// Verify checks that the node signed the digest: that the certificate (DER) is one of this cluster for that node, however
// old, and the signature its key's.
func (i *Identity) Verify(node cluster.ID, certificate, digest, signature []byte) error {
	leaf, err := x509.ParseCertificate(certificate)
	if err != nil {
		return fmt.Errorf("verify node %s: %w", node, err)
	}
	if err := leaf.CheckSignatureFrom(i.authority); err != nil {
		return fmt.Errorf("verify node %s: its certificate is not of this cluster: %w", node, err)
	}
	id, _, ok := pki.Identity(leaf)
	public, isEC := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || id != node || !isEC || len(digest) != sha256.Size || !ecdsa.VerifyASN1(public, digest, signature) {
		return fmt.Errorf("verify node %s: that is not its signature", node)
	}
	return nil
}

// WriteFile replaces a file so that after a crash either the old or the new text is there. Its mode is 0600.
func WriteFile(path string, text []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once the file has its name
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
