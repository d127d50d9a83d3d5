package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
)

// DefaultAddress is where an agent of this machine listens.
const DefaultAddress = "http://127.0.0.1:4646"

// Config says which agent a Client talks to, and as whom.
type Config struct {
	Address   string       // http://host:port, https://host:port or unix:///path; "" is DefaultAddress
	Token     string       // sent with every request if not empty
	Namespace string       // of requests that name none; "" leaves it to the server (default)
	Region    string       // "" leaves it to the server
	HTTP      *http.Client // nil: one of our own, without a deadline. Not used for unix addresses
}

// Client talks to the API of one agent. It may be used concurrently. No method has a deadline of its own: give the
// context one. An error that the server raised comes back as the *cluster.Error that it was, its text unchanged.
type Client struct {
	config Config
	base   *url.URL
	http   *http.Client
}

// New makes a client; it does not connect.
func New(c Config) (*Client, error) {
	if c.Address == "" {
		c.Address = DefaultAddress
	}
	base, err := url.Parse(c.Address)
	if err != nil {
		return nil, cluster.Errorf(cluster.CodeInvalid, "read address %q: %w", c.Address, err)
	}
	client := &Client{config: c, base: base, http: c.HTTP}
	switch {
	case base.Scheme == "unix" && base.Host+base.Path != "":
		client.base = &url.URL{Scheme: "http", Host: "localhost"}
		client.http = &http.Client{Transport: unixTransport(base.Host + base.Path)}
	case (base.Scheme == "http" || base.Scheme == "https") && base.Host != "":
		base.Path = strings.TrimSuffix(base.Path, "/")
		if client.http == nil {
			client.http = &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment,
				DialContext: dialer.DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8, IdleConnTimeout: idle}}
		}
	default:
		return nil, cluster.Errorf(cluster.CodeInvalid,
			"read address %q: want http://host:port, https://host:port or unix:///path", c.Address)
	}
	return client, nil
}

// idle is how long a connection that nobody uses is kept.
const idle = 90 * time.Second

var dialer = &net.Dialer{Timeout: 10 * time.Second}

func unixTransport(path string) *http.Transport {
	return &http.Transport{MaxIdleConnsPerHost: 8, IdleConnTimeout: idle,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", path) }}
}

// Close ends connections that nobody uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Get reads path (escaped, beginning with /v1/) and decodes the answer into out, unless out is nil.
func (c *Client) Get(ctx context.Context, path string, q Query, out any) (Meta, error) {
	return c.exchange(ctx, http.MethodGet, path, q, nil, out)
}

// Put writes in (nil: no body) to path and decodes the answer into out, unless out is nil.
func (c *Client) Put(ctx context.Context, path string, q Query, in, out any) (Meta, error) {
	return c.exchange(ctx, http.MethodPut, path, q, in, out)
}

// Delete deletes path and decodes the answer into out, unless out is nil.
func (c *Client) Delete(ctx context.Context, path string, q Query, out any) (Meta, error) {
	return c.exchange(ctx, http.MethodDelete, path, q, nil, out)
}

// Stream reads path as it comes. The caller closes the body; cancelling ctx ends it too.
func (c *Client) Stream(ctx context.Context, path string, q Query) (io.ReadCloser, error) {
	resp, err := c.send(ctx, http.MethodGet, path, q, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// exchange sends in as JSON, or as it is where it is an io.Reader, and decodes the answer.
func (c *Client) exchange(ctx context.Context, method, path string, q Query, in, out any) (Meta, error) {
	var body io.Reader
	switch in := in.(type) {
	case nil:
	case io.Reader:
		body = in
	default:
		text, err := json.Marshal(in)
		if err != nil {
			return Meta{}, fmt.Errorf("encode request to %s: %w", path, err)
		}
		body = bytes.NewReader(text)
	}
	resp, err := c.send(ctx, method, path, q, body)
	if err != nil {
		return Meta{}, err
	}
	defer resp.Body.Close()
	meta := readMeta(resp.Header)
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	} else {
		err = json.NewDecoder(resp.Body).Decode(out)
	}
	if err != nil {
		return meta, fmt.Errorf("read answer to %s %s: %w", method, path, err)
	}
	return meta, nil
}

// send returns an answer of status 2xx; the caller closes its body.
func (c *Client) send(ctx context.Context, method, path string, q Query, body io.Reader) (*http.Response, error) {
	if q.Namespace == "" {
		q.Namespace = c.config.Namespace
	}
	values := q.values()
	if c.config.Region != "" {
		values.Set("region", c.config.Region)
	}
	target := c.base.Scheme + "://" + c.base.Host + c.base.EscapedPath() + path
	if len(values) > 0 {
		target += "?" + values.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, cluster.Errorf(cluster.CodeInvalid, "address request %s %s: %w", method, path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.config.Token != "" {
		req.Header.Set(HeaderToken, c.config.Token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreached(ctx, err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, answeredError(resp)
}

// unreached explains why there was no answer at all.
func (c *Client) unreached(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if u, ok := err.(*url.Error); ok {
		err = u.Err // without the URL, which the address says better
	}
	return cluster.Errorf(cluster.CodeUnavailable, "reach agent at %s: %w (is it running? set CLUSTER_ADDR or -address)",
		c.config.Address, err)
}

// answeredError is the error that the server raised.
func answeredError(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody))
	message := strings.TrimSpace(string(text))
	if err != nil || message == "" {
		message = "server answered " + resp.Status
	}
	return cluster.Errorf(codeOf(resp.StatusCode, resp.Header), "%s", message)
}

// read gets one value.
func read[T any](ctx context.Context, c *Client, path string, q Query) (T, Meta, error) {
	var out T
	meta, err := c.Get(ctx, path, q, &out)
	return out, meta, err
}
