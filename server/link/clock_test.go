package link

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a43e60e4/cluster/server/pki"
)

func TestAWrongClockRenewsWithoutHaste(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, off := range []time.Duration{2 * year, -2 * year, -20 * 24 * time.Hour} { // of the issuer's clock, by this machine's
		synctest.Test(t, func(t *testing.T) {
			us := newCluster(t)
			log := new(logBook)
			var asked atomic.Int32
			var wrong atomic.Int64
			wrong.Store(int64(off))
			who := us.identity(nodeID, pki.RoleClient)
			renewal := Renewal{Identity: who, Logger: slog.New(slog.NewTextHandler(log, nil)), Addresses: func() []string { return nil },
				Ask: func(context.Context, []byte) ([]byte, error) {
					asked.Add(1)
					return us.authority.Issue(who.ID(), who.Role(), who.Public(), time.Now().Add(time.Duration(wrong.Load())))
				}}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- KeepCertificate(ctx, renewal) }()
			<-time.After(pki.LeafLifetime/2 + 4*time.Hour)
			synctest.Wait()
			if n := asked.Load(); n < 2 || n > 1+4*6 {
				t.Errorf("off by %v: it asked %d times in 4 hours", off, n)
			}
			if n := strings.Count(log.String(), "correct the clock"); n != 1 {
				t.Errorf("off by %v: it said so %d times:\n%s", off, n, log)
			}
			wrong.Store(0)
			<-time.After(renewalRest + time.Second)
			synctest.Wait()
			if now := time.Now(); who.Due(now) {
				t.Errorf("with right clocks again the certificate is valid until %v, at %v", who.Leaf().NotAfter, now)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
