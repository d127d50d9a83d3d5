package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
)

// syncChecks asks exactly the checks that are due.
func (r *runner) syncChecks(ctx context.Context) {
	if len(r.checking) == 0 && r.rec.Status == cluster.ClientPending {
		return
	}
	due := map[string]check{}
	for _, c := range r.rec.due() {
		due[c.id] = c
	}
	for id, cancel := range r.checking {
		if _, ok := due[id]; !ok {
			cancel()
			delete(r.checking, id)
			r.mu.Lock()
			delete(r.statuses, id)
			r.mu.Unlock()
		}
	}
	for id, c := range due {
		if r.checking[id] != nil {
			continue
		}
		asking, cancel := context.WithCancel(ctx)
		r.checking[id] = cancel
		rec := r.rec
		r.children.Go(func() { r.probe(asking, rec, c) })
	}
}

// probe asks one check until ctx ends: at once and then in every interval. Until it passes for the first time it is
// asked more often, so that a service that needs a second to start is not found an interval later.
func (r *runner) probe(ctx context.Context, rec record, c check) {
	dirs := r.node.dirs(r.id)
	c, address := c.interpolated(rec.Alloc, r.node.self.Load(), mounts(missing(""), dirs, c.owner))
	status := c.blank(rec.Alloc.TaskGroup)
	r.keepStatus(ctx, status)
	pause, passed := 50*time.Millisecond, rec.Checks[c.id] == cluster.CheckSuccess
	for ctx.Err() == nil {
		asked, cancel := context.WithTimeout(ctx, c.Timeout)
		status.Status, status.StatusCode, status.Output = r.node.probe(asked, c.Check, address)
		cancel()
		if ctx.Err() != nil {
			return
		}
		status.Timestamp = time.Now().Unix()
		r.keepStatus(ctx, status)
		result := status.Status
		r.post(ctx, func() {
			if ctx.Err() == nil {
				r.set(r.rec.checked(c.id, result), keepProcess)
			}
		})
		passed = passed || result == cluster.CheckSuccess
		wait := c.Interval
		if !passed {
			pause = min(2*pause, c.Interval)
			wait = pause
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (r *runner) keepStatus(ctx context.Context, s cluster.CheckStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() == nil {
		r.statuses[s.ID] = s
	}
}

// checkStatuses are the last results of the checks that are asked now.
func (r *runner) checkStatuses() map[string]cluster.CheckStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]cluster.CheckStatus, len(r.statuses))
	for id, s := range r.statuses {
		all[id] = s
	}
	return all
}

// probe asks a check once. It returns the result, the status code of an HTTP answer, and what to show to people.
func probe(ctx context.Context, c cluster.Check, address string) (status string, code int, output string) {
	var err error
	switch c.Type {
	case cluster.CheckHTTP:
		code, output, err = probeHTTP(ctx, c, address)
	case cluster.CheckTCP:
		output, err = "nomad: tcp ok", probeTCP(ctx, address)
	default:
		err = fmt.Errorf("checks of type %q are not known", c.Type)
	}
	if err != nil {
		return cluster.CheckFailure, code, "nomad: " + err.Error()
	}
	if code >= 400 {
		return cluster.CheckFailure, code, output
	}
	return cluster.CheckSuccess, code, output
}

func probeTCP(ctx context.Context, address string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

func probeHTTP(ctx context.Context, c cluster.Check, address string) (code int, output string, err error) {
	scheme, method := c.Protocol, c.Method
	if scheme == "" {
		scheme = "http"
	}
	if method == "" {
		method = http.MethodGet
	}
	path := c.Path
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	request, err := http.NewRequestWithContext(ctx, method, scheme+"://"+address+path, strings.NewReader(c.Body))
	if err != nil {
		return 0, "", err
	}
	for key, values := range c.Header {
		if strings.EqualFold(key, "Host") && len(values) > 0 {
			request.Host = values[0]
			continue
		}
		request.Header[http.CanonicalHeaderKey(key)] = values
	}
	transport := http.RoundTripper(plainProbes)
	if c.TLSSkipVerify {
		transport = blindProbes
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	const most = 3 << 10
	body, err := io.ReadAll(io.LimitReader(response.Body, most))
	if response.StatusCode == http.StatusOK {
		return response.StatusCode, "nomad: http ok", nil
	}
	return response.StatusCode, string(bytes.ToValidUTF8(body, []byte("?"))), err
}

// Checks never share connections: each asks whether a new one opens.
var (
	plainProbes = &http.Transport{DisableKeepAlives: true}
	blindProbes = &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
)
