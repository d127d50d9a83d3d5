package cluster

import (
	"cmp"
	"net/netip"
	"slices"
)

// Catalog is what the members of the cluster offer, by name and by address, as one node knows it. It never changes:
// any number of goroutines may read it, and what it returns belongs to it. No method allocates memory.
//
// An endpoint is answered if its checks pass, its node is alive, and the leader has not decided that node to be down.
// Where this leaves nothing of a name, passing endpoints of nodes that only gossip misses are answered after all: being
// cut off from all others must not empty every name.
type Catalog struct {
	services   map[ServiceName]*offer
	namespaces map[string]bool
	nodes      map[string]*nodeOffer // by name and by ID
	addresses  map[netip.Addr]*addressOffer
}

// ServiceName names endpoints of a service, in lower case.
type ServiceName struct {
	Namespace string
	Service   string
	Tag       string // "" is all endpoints
}

// CatalogEndpoint is an endpoint and the node that it is on.
type CatalogEndpoint struct {
	Endpoint
	Node        ID
	NodeName    string
	NodeAddress netip.Addr
}

// offer is what there is of a name. Hidden are the endpoints of nodes that only gossip misses.
type offer struct{ shown, hidden []*CatalogEndpoint }

type nodeOffer struct{ shown, hidden []netip.Addr }

type addressOffer struct {
	nodes    []string
	services []ServiceName
}

// maxAddressServices is how many services an address is said to have at most.
const maxAddressServices = 8

// standing is what a node's own endpoints are worth.
type standing uint8

const (
	standingShown  standing = iota
	standingHidden          // gossip misses it, or the leader has decided that it is down: one of the two proofs is gone
	standingGone            // both are, or it has left
)

// NewCatalog makes the catalog of the members, whatever their order is. It keeps no reference to the slice, but to the
// records in it.
//
// Which nodes are down is what the server says whose state is newest, alive or not: what was committed stays true until
// a newer state says otherwise, and a node that has come back is not in that list any more.
func NewCatalog(members []Member) *Catalog {
	ordered := make([]*Member, len(members))
	endpoints := 0
	for i := range members {
		ordered[i] = &members[i]
		endpoints += len(members[i].Endpoints)
	}
	slices.SortStableFunc(ordered, func(a, b *Member) int { return a.Node.Compare(b.Node) })
	c := &Catalog{
		services:   make(map[ServiceName]*offer, endpoints/4),
		namespaces: map[string]bool{DefaultNamespace: true},
		nodes:      make(map[string]*nodeOffer, 2*len(members)),
		addresses:  make(map[netip.Addr]*addressOffer, 2*len(members)),
	}
	down := decidedDown(ordered)
	all := make([]CatalogEndpoint, 0, endpoints)
	for _, m := range ordered {
		c.addNode(m, m.standing(down))
	}
	for _, m := range ordered {
		how := m.standing(down)
		name := lower(m.Name)
		for i := range m.Endpoints {
			all = append(all, CatalogEndpoint{m.Endpoints[i], m.Node, name, m.Address})
			c.addEndpoint(&all[len(all)-1], how)
		}
	}
	return c
}

// decidedDown is the list of the newest state. Of several servers with it, the first is taken.
func decidedDown(ordered []*Member) []ID {
	var best *Member
	for _, m := range ordered {
		if m.Server && (best == nil || cmp.Or(cmp.Compare(m.Epoch, best.Epoch), cmp.Compare(m.Index, best.Index)) > 0) {
			best = m
		}
	}
	if best == nil {
		return nil
	}
	return slices.SortedFunc(slices.Values(best.Down), ID.Compare)
}

func (m *Member) standing(down []ID) standing {
	_, isDown := slices.BinarySearchFunc(down, m.Node, ID.Compare)
	alive := m.State == MemberAlive
	switch {
	case m.Left || m.State == MemberLeft || isDown && !alive:
		return standingGone
	case isDown || !alive:
		return standingHidden
	}
	return standingShown
}

func (c *Catalog) addNode(m *Member, how standing) {
	name := lower(m.Name)
	keys := []string{m.Node.String(), name}
	if name == "" {
		keys = keys[:1]
	}
	for _, key := range keys {
		o := c.nodes[key]
		if o == nil {
			o = &nodeOffer{}
			c.nodes[key] = o
		}
		switch {
		case !m.Address.IsValid():
		case how == standingShown:
			o.shown = append(o.shown, m.Address)
		case how == standingHidden:
			o.hidden = append(o.hidden, m.Address)
		}
	}
	if m.Address.IsValid() && how != standingGone {
		at := c.address(m.Address)
		at.nodes = append(at.nodes, cmp.Or(name, keys[0]))
	}
}

func (c *Catalog) address(a netip.Addr) *addressOffer {
	at := c.addresses[a]
	if at == nil {
		at = &addressOffer{}
		c.addresses[a] = at
	}
	return at
}

func (c *Catalog) addEndpoint(e *CatalogEndpoint, how standing) {
	name := ServiceName{Namespace: lower(e.Namespace), Service: lower(e.Service)}
	c.namespaces[name.Namespace] = true
	c.addTo(name, e, how)
	for _, tag := range e.Tags {
		if tag != "" {
			c.addTo(ServiceName{name.Namespace, name.Service, lower(tag)}, e, how)
		}
	}
	if !e.Address.IsValid() || how == standingGone {
		return
	}
	at := c.address(e.Address)
	if len(at.nodes) == 0 && len(at.services) < maxAddressServices && !slices.Contains(at.services, name) {
		at.services = append(at.services, name)
	}
}

// addTo makes the name known, and answers the endpoint under it if it may be answered.
func (c *Catalog) addTo(name ServiceName, e *CatalogEndpoint, how standing) {
	o := c.services[name]
	if o == nil {
		o = &offer{}
		c.services[name] = o
	}
	switch {
	case !e.Passing || !e.Address.IsValid():
	case how == standingShown:
		o.shown = appendOnce(o.shown, e)
	case how == standingHidden:
		o.hidden = appendOnce(o.hidden, e)
	}
}

// appendOnce appends the endpoint, unless it is there by the same tag, written twice.
func appendOnce(to []*CatalogEndpoint, e *CatalogEndpoint) []*CatalogEndpoint {
	if n := len(to); n > 0 && to[n-1] == e {
		return to
	}
	return append(to, e)
}

// Service lists the endpoints to answer for the name, ordered by node. Known reports whether any node runs, or has run
// until now, what the name means, be it passing or not.
func (c *Catalog) Service(name ServiceName) (endpoints []*CatalogEndpoint, known bool) {
	o := c.services[name]
	if o == nil {
		return nil, false
	}
	if len(o.shown) == 0 {
		return o.hidden, true
	}
	return o.shown, true
}

// Namespace reports whether any endpoint is in the namespace, which is given in lower case.
func (c *Catalog) Namespace(name string) bool { return c.namespaces[name] }

// Node lists the addresses of the nodes of that name or ID, which is given in lower case: none if they are down or have
// left. Known reports whether there is such a node.
func (c *Catalog) Node(name string) (addresses []netip.Addr, known bool) {
	o := c.nodes[name]
	if o == nil {
		return nil, false
	}
	if len(o.shown) == 0 {
		return o.hidden, true
	}
	return o.shown, true
}

// Address says what is at the address: the nodes of which it is, or else some of the services that have an endpoint there.
// Known is false if nothing of the cluster is.
func (c *Catalog) Address(a netip.Addr) (nodes []string, services []ServiceName, known bool) {
	at := c.addresses[a]
	if at == nil {
		return nil, nil, false
	}
	return at.nodes, at.services, true
}

// lower is strings.ToLower for ASCII alone: that is how names in the DNS are compared.
func lower(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if b[j] >= 'A' && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
