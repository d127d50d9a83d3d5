package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/pki"
)

// The files of a server's part of the authority, 0600 in the server's directory.
const (
	fileSealed = "ca.sealed" // of the cluster's first server: the authority's key, sealed with fileSeal
	fileSeal   = "seal.key"  // this server's 32 bytes
)

// sealSize is the length of a seal's key in bytes.
const sealSize = 32

// Found begins a cluster: it makes an authority, whose key it leaves sealed in the server's directory, and the first
// server's identity. If that was begun before and not ended, it begins anew.
func Found(dir, identityDir string, id cluster.ID, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make server directory: %w", err)
	}
	authority, err := pki.NewAuthority(cluster.IDFrom(dice(), 0))
	if err != nil {
		return err
	}
	seal := make([]byte, sealSize)
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
	if err := link.WriteFile(filepath.Join(dir, fileSeal), seal); err != nil {
		return fmt.Errorf("write key of the seal: %w", err)
	}
	if err := link.WriteFile(filepath.Join(dir, fileSealed), sealed); err != nil {
		return fmt.Errorf("write sealed authority key: %w", err)
	}
	if err := os.MkdirAll(identityDir, 0o700); err != nil {
		return fmt.Errorf("make identity directory: %w", err)
	}
	if err := link.WriteKeyring(identityDir, newKeyring()); err != nil {
		return err
	}
	return link.WriteIdentity(identityDir, authority.PEM(), key, certificate)
}

// founded reports whether the cluster of this server began in the directory: only there the log may begin.
func founded(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, fileSealed))
	return err == nil
}

// vault holds the authority's key as this server has it: sealed with a key that lies on its disk alone. The sealed key
// is in the state once the cluster has one.
type vault struct {
	dir      string
	identity *link.Identity
	sealed   func() []byte // from the state, nil if it is not there yet
}

// seal is this server's own 32 bytes, drawn at first use.
func (v *vault) seal() ([]byte, error) {
	path := filepath.Join(v.dir, fileSeal)
	seal, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !founded(v.dir) {
		seal = make([]byte, sealSize)
		rand.Read(seal)
		err = link.WriteFile(path, seal)
	}
	if err != nil {
		return nil, fmt.Errorf("read key of the seal: %w: %s", err, link.AdviceLost)
	}
	return seal, nil
}

// text is the sealed key, nil if this server has none yet.
func (v *vault) text() ([]byte, error) {
	if sealed := v.sealed(); sealed != nil {
		return sealed, nil
	}
	sealed, err := os.ReadFile(filepath.Join(v.dir, fileSealed))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read sealed authority key: %w: %s", err, link.AdviceLost)
	}
	return sealed, nil
}

// errNoAuthority says that this server cannot issue certificates yet.
var errNoAuthority = errors.New("the authority's key is not sealed for this server yet")

// open is the authority.
func (v *vault) open() (*pki.Authority, error) {
	sealed, err := v.text()
	if err != nil {
		return nil, err
	}
	if sealed == nil {
		return nil, errNoAuthority
	}
	seal, err := v.seal()
	if err != nil {
		return nil, err
	}
	authority, err := pki.Unseal(pki.PEM(v.identity.Authority()), sealed, seal)
	if err != nil {
		return nil, fmt.Errorf("open the authority's key with %s in %s: %w: %s", fileSeal, v.dir, err, link.AdviceLost)
	}
	return authority, nil
}

// renewalInterval is how often keepCertificate looks: often enough for a clock that was corrected by years.
const renewalInterval = time.Minute

// keepCertificate renews this server's certificate in time, until ctx ends, as long as no other server leads: the leader is
// asked by all nodes, and its clock is the one that the cluster works by. One that issued certificates to itself by a clock that
// is years off would shut itself out. What fails is tried again.
func (s *Server) keepCertificate(ctx context.Context, led func() bool) error {
	if _, err := s.vault.open(); err != nil && !errors.Is(err, errNoAuthority) {
		s.logger.Error("the authority's key is lost: no certificate can be renewed", "until", s.config.Identity.Leaf().NotAfter, "err", err)
	}
	failing := false
	for pause(ctx, renewalInterval); ctx.Err() == nil; pause(ctx, renewalInterval) {
		if led() {
			continue
		}
		err := s.renewCertificate(time.Now())
		if err != nil && !failing {
			s.logger.Error("the node's certificate cannot be renewed, trying again", "until", s.config.Identity.Leaf().NotAfter, "err", err)
		}
		failing = err != nil
	}
	return nil
}

// led reports whether another server leads.
func (s *Server) led() bool {
	id := s.Leadership().ID
	return !id.IsZero() && id != s.config.Identity.ID()
}

// renewCertificate replaces the node's certificate when half of its life is over, or if it is of a time to come.
func (s *Server) renewCertificate(now time.Time) error {
	identity := s.config.Identity
	if !identity.Due(now) {
		return nil
	}
	authority, err := s.vault.open()
	if err != nil {
		return fmt.Errorf("renew node certificate: %w", err)
	}
	certificate, err := authority.Issue(identity.ID(), pki.RoleServer, identity.Public(), now)
	if err != nil {
		return err
	}
	return identity.Install(certificate)
}
