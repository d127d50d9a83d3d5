package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/pki"
)

// The files of a node's identity, all 0600 in the server's directory.
const (
	fileAuthority   = "ca.crt"   // the authority's certificate
	fileCertificate = "node.crt" // the node's own, issued by it
	fileKey         = "node.key"
	fileSealed      = "ca.sealed" // the authority's key, sealed with fileSeal, until it is in the state
	fileSeal        = "seal.key"  // this server's 32 bytes
)

// trust is a server's identity and whom it believes. tls may be called at any time, the rest by one goroutine.
type trust struct {
	dir         string
	id          cluster.ID
	authority   *x509.Certificate
	certificate atomic.Pointer[tls.Certificate]
	sealed      []byte // the authority's key, sealed for this server
}

// openTrust reads the identity in dir or, at the first start of a cluster's first server, makes it.
func openTrust(dir string, id cluster.ID, bootstrap bool) (*trust, error) {
	_, err := os.Stat(filepath.Join(dir, fileCertificate))
	if errors.Is(err, fs.ErrNotExist) {
		if !bootstrap {
			return nil, cluster.Errorf(cluster.CodeInvalid, "open server in %s: there is no cluster here yet: start the first node with -bootstrap", dir)
		}
		if err := makeTrust(dir, id, time.Now()); err != nil {
			return nil, err
		}
	}
	t := &trust{dir: dir, id: id}
	text, err := os.ReadFile(filepath.Join(dir, fileAuthority))
	if err != nil {
		return nil, fmt.Errorf("read authority: %w: %s", err, adviceLost)
	}
	if t.authority, err = pki.ParseCertificate(text); err != nil {
		return nil, fmt.Errorf("read authority %s: %w: %s", filepath.Join(dir, fileAuthority), err, adviceLost)
	}
	if err := t.load(); err != nil {
		return nil, err
	}
	if t.sealed, err = os.ReadFile(filepath.Join(dir, fileSealed)); err != nil {
		return nil, fmt.Errorf("read sealed authority key: %w: %s", err, adviceLost)
	}
	return t, t.renew(time.Now())
}

// load reads the node's certificate and key.
func (t *trust) load() error {
	certificate, err := tls.LoadX509KeyPair(filepath.Join(t.dir, fileCertificate), filepath.Join(t.dir, fileKey))
	if err != nil {
		return fmt.Errorf("read node certificate in %s: %w: %s", t.dir, err, adviceLost)
	}
	t.certificate.Store(&certificate)
	return nil
}

// adviceLost ends messages about files that only a copy can bring back.
const adviceLost = "restore the file from a copy, or move the data directory away to begin anew"

// makeTrust makes an authority and the first certificate. The certificate is written last: it says that all is there.
func makeTrust(dir string, id cluster.ID, now time.Time) error {
	authority, err := pki.NewAuthority(cluster.IDFrom(dice(), 0))
	if err != nil {
		return err
	}
	seal := make([]byte, 32)
	rand.Read(seal)
	sealed, err := authority.Seal(seal)
	if err != nil {
		return err
	}
	key, public, err := pki.NewKey()
	if err != nil {
		return err
	}
	certificate, err := authority.Issue(id, pki.RoleServer, public, now)
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name string
		text []byte
	}{{fileAuthority, authority.PEM()}, {fileSeal, seal}, {fileSealed, sealed}, {fileKey, key}, {fileCertificate, certificate}} {
		if err := writeFile(filepath.Join(dir, file.name), file.text); err != nil {
			return fmt.Errorf("write identity: %w", err)
		}
	}
	return nil
}

// renewalInterval is how often keep looks: often enough for a clock that was corrected by years.
const renewalInterval = time.Minute

// keep renews the node's certificate in time, until ctx ends. What fails is tried again.
func (t *trust) keep(ctx context.Context, logger *slog.Logger) error {
	if _, err := t.unseal(); err != nil {
		logger.Error("the authority's key is lost: no certificate can be renewed", "until", t.certificate.Load().Leaf.NotAfter, "err", err)
	}
	failing := false
	for ctx.Err() == nil {
		err := t.renew(time.Now())
		if err != nil && !failing {
			logger.Error("the node's certificate cannot be renewed, trying again", "until", t.certificate.Load().Leaf.NotAfter, "err", err)
		}
		failing = err != nil
		pause(ctx, renewalInterval)
	}
	return nil
}

// unseal opens the authority with this server's part of the secret.
func (t *trust) unseal() (*pki.Authority, error) {
	seal, err := os.ReadFile(filepath.Join(t.dir, fileSeal))
	if err != nil {
		return nil, fmt.Errorf("read key of the seal: %w: %s", err, adviceLost)
	}
	authority, err := pki.Unseal(pki.PEM(t.authority), t.sealed, seal)
	if err != nil {
		return nil, fmt.Errorf("open %s with %s in %s: %w: %s", fileSealed, fileSeal, t.dir, err, adviceLost)
	}
	return authority, nil
}

// renew replaces the node's certificate when half of its life is over, or if it is of a time to come.
func (t *trust) renew(now time.Time) error {
	leaf := t.certificate.Load().Leaf
	if now.Before(leaf.NotAfter.Add(-pki.LeafLifetime/2)) && !now.Before(leaf.NotBefore) {
		return nil
	}
	authority, err := t.unseal()
	if err != nil {
		return fmt.Errorf("renew node certificate: %w", err)
	}
	own, ok := leaf.PublicKey.(*ecdsa.PublicKey) // the key stays: only one file must change
	if !ok {
		return fmt.Errorf("renew node certificate: unexpected kind of key %T", leaf.PublicKey)
	}
	certificate, err := authority.Issue(t.id, pki.RoleServer, own, now)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(t.dir, fileCertificate), certificate); err != nil {
		return fmt.Errorf("renew node certificate: %w", err)
	}
	return t.load()
}

// tls is the configuration for connections of the given protocols. It goes along when the certificate is renewed.
func (t *trust) tls(protocols ...string) *tls.Config {
	return pki.TLS(t.authority, t.certificate.Load, time.Now, protocols...)
}

// writeFile replaces a file so that after a crash either the old or the new text is there. Its mode is 0600.
func writeFile(path string, text []byte) error {
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
