package server

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/pki"
)

func TestCertificatesAreRenewedWhileTheServerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		identity, err := identityIn(dir, nodeID)
		if err != nil {
			t.Fatal(err)
		}
		log := new(logBook)
		s := &Server{config: Config{Identity: identity}, logger: slog.New(slog.NewTextHandler(log, nil)),
			vault: vault{dir, identity, func() []byte { return nil }}}
		config := identity.TLS(link.ProtocolHTTP1)
		first, err := config.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.keepCertificate(ctx, func() bool { return false }) }()
		for range 3 {
			before := identity.Leaf()
			<-time.After(pki.LeafLifetime/2 + renewalInterval)
			synctest.Wait()
			now, err := config.GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			if now.Leaf == before || now.Leaf.NotAfter.Before(time.Now().Add(pki.LeafLifetime-time.Hour)) {
				t.Fatalf("after half its life the certificate is valid until %v", now.Leaf.NotAfter)
			}
		}
		cancel()
		if err := <-done; err != nil || log.String() != "" {
			t.Errorf("keepCertificate returned %v and logged %q", err, log)
		}
		again, err := identityIn(dir, nodeID)
		if err != nil {
			t.Fatal(err)
		}
		if again.Leaf().SerialNumber.Cmp(first.Leaf.SerialNumber) == 0 {
			t.Error("the renewed certificate is not on disk")
		}
		// A clock that was set back by years makes certificates of a time to come; they are replaced.
		s.config.Identity = again
		if err := s.renewCertificate(time.Now().AddDate(-2, 0, 0)); err != nil {
			t.Fatal(err)
		}
		if leaf := again.Leaf(); leaf.NotBefore.After(time.Now().AddDate(-2, 0, 0)) {
			t.Errorf("the certificate is valid from %v", leaf.NotBefore)
		}
	})
}

func TestOnlyTheLeadersClockIssues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		identity, err := identityIn(dir, nodeID)
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{config: Config{Identity: identity}, logger: slog.New(slog.DiscardHandler), vault: vault{dir, identity, func() []byte { return nil }}}
		ctx, cancel := context.WithCancel(t.Context())
		var led atomic.Bool
		led.Store(true)
		done := make(chan error, 1)
		go func() { done <- s.keepCertificate(ctx, led.Load) }()
		first := identity.Leaf()
		<-time.After(2 * 365 * 24 * time.Hour) // as when the clock jumps
		synctest.Wait()
		if identity.Leaf() != first {
			t.Error("led by another server it issued a certificate to itself")
		}
		led.Store(false)
		<-time.After(renewalInterval)
		synctest.Wait()
		if identity.Leaf() == first {
			t.Error("with nobody else to lead it has no certificate")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
