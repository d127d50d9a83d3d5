package api

import (
	"context"

	"github.com/a43e60e4/cluster"
)

// ServiceList is the services of one namespace.
type ServiceList struct {
	Namespace string
	Services  []ServiceStub
}

// ServiceStub is a service in a list, with the tags of all its endpoints.
type ServiceStub struct {
	ServiceName string
	Tags        []string
}

// NamespaceView is a namespace as the wire shows it: cluster.Namespace, and fields that existing clients expect.
type NamespaceView struct {
	*cluster.Namespace
	Quota                                                                        string
	Capabilities, NodePoolConfiguration, VaultConfiguration, ConsulConfiguration *struct{}
	RequiredExtraClaims, OptionalExtraClaims                                     []string
}

// SearchRequest asks for everything whose ID begins with Prefix.
type SearchRequest struct {
	Prefix  string
	Context string // jobs, allocs, evals, deployment, nodes, namespaces; "" or all is everything
}

// SearchResponse lists the IDs found by context, at most 20 each.
type SearchResponse struct {
	Matches     map[string][]string
	Truncations map[string]bool
	Meta
}

// Services lists the services of a namespace, or of all of them.
func (c *Client) Services(ctx context.Context, q Query) ([]ServiceList, Meta, error) {
	return read[[]ServiceList](ctx, c, ServicesList.Path, q)
}

// Service lists the endpoints of a service whose checks pass; there are none also where nobody knows the name.
func (c *Client) Service(ctx context.Context, name string, q Query) ([]cluster.ServiceRegistration, Meta, error) {
	return read[[]cluster.ServiceRegistration](ctx, c, ServiceRead.URL(name), q)
}

// Namespaces lists the namespaces.
func (c *Client) Namespaces(ctx context.Context, q Query) ([]cluster.Namespace, Meta, error) {
	return read[[]cluster.Namespace](ctx, c, NamespacesList.Path, q)
}

// Namespace reads a namespace.
func (c *Client) Namespace(ctx context.Context, name string, q Query) (*cluster.Namespace, Meta, error) {
	return read[*cluster.Namespace](ctx, c, NamespaceRead.URL(name), q)
}

// WriteNamespace creates or changes a namespace.
func (c *Client) WriteNamespace(ctx context.Context, n cluster.Namespace) error {
	_, err := c.Put(ctx, NamespaceWrite.URL(n.Name), Query{}, n, nil)
	return err
}

// DeleteNamespace deletes a namespace in which nothing is left.
func (c *Client) DeleteNamespace(ctx context.Context, name string) error {
	_, err := c.Delete(ctx, NamespaceDelete.URL(name), Query{}, nil)
	return err
}

// Search finds what begins with a prefix.
func (c *Client) Search(ctx context.Context, req SearchRequest, q Query) (*SearchResponse, error) {
	var out SearchResponse
	_, err := c.Put(ctx, SearchPrefix.Path, q, req, &out)
	return &out, err
}
