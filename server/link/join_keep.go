package link

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/pki"
)

// Renewal is how a node gets a new certificate.
type Renewal struct {
	Identity *Identity
	// Ask asks over a connection of members, which needs a certificate that is still valid; nil: there is no such way. The
	// key is the node's public one, DER; the answer is a certificate, PEM.
	Ask func(ctx context.Context, key []byte) (certificate []byte, err error)
	// Addresses are where servers' port 4647 may be, for a node whose certificate has expired.
	Addresses func() []string
	Dial      DialFunc // nil: the machine's network
	Logger    *slog.Logger
}

// renewalInterval is how often KeepCertificate looks: often enough for a clock that was corrected by years.
const renewalInterval = time.Minute

// renewalPause is between two attempts while the certificate has expired: without it the node is cut off.
const renewalPause = 5 * time.Second

// renewalRest follows a renewal that leaves the certificate as due as it was by this machine's clock, which is wrong then, or
// by that of who issued it.
const renewalRest = 10 * time.Minute

// KeepCertificate renews the node's certificate when half of its life is over, and also when all of it is, until ctx ends.
// What fails is tried again and said once.
func KeepCertificate(ctx context.Context, r Renewal) error {
	failing, off := "", false
	for ctx.Err() == nil {
		rest := renewalInterval
		err := r.RenewIfDue(ctx, time.Now())
		if err == nil {
			failing = ""
			if leaf := r.Identity.Leaf(); r.Identity.Due(time.Now()) {
				rest = renewalRest
				if !off {
					r.Logger.Warn("this machine's clock does not fit the time of the node's certificate, which was renewed: correct the clock", "until", leaf.NotAfter)
				}
			}
			off = rest == renewalRest
		} else if ctx.Err() == nil {
			if failing != err.Error() {
				r.Logger.Error("the node's certificate cannot be renewed, trying again", "until", r.Identity.Leaf().NotAfter, "err", err)
			}
			failing = err.Error()
			if time.Now().After(r.Identity.Leaf().NotAfter) {
				rest = renewalPause
			}
		}
		pause(ctx, rest)
	}
	return nil
}

// RenewIfDue replaces the node's certificate if that is due.
func (r *Renewal) RenewIfDue(ctx context.Context, now time.Time) error {
	if !r.Identity.Due(now) {
		return nil
	}
	certificate, err := r.renew(ctx)
	if err != nil {
		return fmt.Errorf("renew node certificate: %w", err)
	}
	return r.Identity.Install(certificate)
}

func (r *Renewal) renew(ctx context.Context) ([]byte, error) {
	var faults error = cluster.Errorf(cluster.CodeUnavailable, "no server is known")
	if r.Ask != nil {
		key, err := r.Identity.PublicDER()
		if err != nil {
			return nil, err
		}
		certificate, err := r.Ask(ctx, key)
		if err == nil {
			return certificate, nil
		}
		faults = err
	}
	dial := r.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	ask := stranger{dial: dial, fingerprint: pki.Fingerprint(r.Identity.Authority()), proof: r.Identity.certificate.Load()}
	for _, address := range r.Addresses() {
		var answer RenewAnswer
		began := time.Now()
		err := ask.post(ctx, address, PathRenew, struct{}{}, &answer)
		if err == nil {
			if words := ClockWords(time.Unix(0, answer.Time), began, time.Now()); words != "" {
				r.Logger.Warn("the certificate was renewed, but " + words)
			}
			return []byte(answer.Certificate), nil
		}
		faults = fmt.Errorf("%s: %w", address, err)
		if code := cluster.CodeOf(err); code == cluster.CodeForbidden {
			break // a server has decided
		}
	}
	return nil, faults
}
