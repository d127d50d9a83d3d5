package dns

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/a43e60e4/cluster"
)

// negativeTTL is how many seconds others may remember that there is nothing.
const negativeTTL = 1

// zone is what the answers about the cluster's names depend on, besides the catalog. It decides purely.
type zone struct {
	wire   []byte   // the zone's name in lower case
	labels []string // the same
	self   cluster.ID
	ttl    uint32 // seconds
}

func newZone(name string, self cluster.ID, ttl uint32) (*zone, error) {
	all := strings.Split(strings.ToLower(strings.Trim(name, ".")), ".")
	wire, ok := appendName(nil, all...)
	if !ok || len(wire) > maxName/2 {
		return nil, cluster.Errorf(cluster.CodeInvalid, "read DNS zone %.80q: want a name such as cluster.internal", name)
	}
	return &zone{append(wire, 0), all, self, ttl}, nil
}

// contains reports whether the name, in wire form and lower case, is the zone's or below it.
func (z *zone) contains(name []byte) bool {
	at := len(name) - len(z.wire)
	if at < 0 || string(name[at:]) != string(z.wire) {
		return false
	}
	for i := 0; i <= at; i += 1 + int(name[i]) { // the rest must begin with a label, not within one
		if i == at {
			return true
		}
	}
	return false
}

// question is what an answer is packed for.
type question struct {
	name   []byte // in wire form and lower case
	kind   uint16
	serial uint32
}

// answer packs what the catalog has. It is nil if the name is not one of ours.
func (z *zone) answer(c *cluster.Catalog, q question) *answer {
	all := labels(q.name)
	if !z.contains(q.name) {
		return z.reverse(c, all, q)
	}
	a := &answer{}
	known := z.fill(a, c, all[:len(all)-len(z.labels)], q)
	switch {
	case !known:
		a.rcode = dns.RcodeNameError
	case q.kind == dns.TypeANY && len(a.answers.ends) == 0:
		a.answers.add(dns.TypeHINFO, z.ttl, []byte("\x07RFC8482\x00")...)
	}
	if len(a.answers.ends) == 0 {
		a.authority.data = pointerToZone(a.authority.data, q, z)
		a.authority.addOwned(dns.TypeSOA, negativeTTL, z.soa(q.serial))
	}
	return a
}

// pointerToZone appends a pointer to the zone's name at the end of the question's.
func pointerToZone(to []byte, q question, z *zone) []byte {
	return binary.BigEndian.AppendUint16(to, 0xc000|uint16(headerSize+len(q.name)-len(z.wire)))
}

func (z *zone) soa(serial uint32) []byte {
	content := z.nameServer()
	content, _ = appendName(content, "hostmaster")
	content = append(content, z.wire...)
	for _, n := range []uint32{serial, 60, 10, 3600, negativeTTL} {
		content = binary.BigEndian.AppendUint32(content, n)
	}
	return content
}

// nameServer is the name of the zone's name server: this node.
func (z *zone) nameServer() []byte {
	name, _ := appendName(nil, z.self.String(), "node")
	return append(name, z.wire...)
}

// fill puts the records of a name, given by its labels before the zone's, into the answer, and reports whether there
// is such a name. A name is also known if only longer ones exist (RFC 8020).
func (z *zone) fill(a *answer, c *cluster.Catalog, name []string, q question) bool {
	if len(name) == 0 {
		z.apex(a, c, q)
		return true
	}
	last := len(name) - 1
	if name[last] == "node" {
		return last == 0 || z.node(a, c, name[:last], q)
	}
	namespace := cluster.DefaultNamespace
	if name[last] == "ns" {
		if last == 0 {
			return true
		}
		namespace, name = name[last-1], name[:last-1]
		if len(name) == 0 {
			return c.Namespace(namespace)
		}
		last = len(name) - 1
	}
	wanted, proto := service(name)
	if wanted.Service == "" {
		return proto && len(name) == 1 && c.Namespace(namespace)
	}
	wanted.Namespace = namespace
	endpoints, known := c.Service(wanted)
	if proto && q.kind != dns.TypeSRV {
		return known
	}
	if last > 0 && name[0] == "tag" && wanted.Tag == "" {
		return known // tag.<service>: tags are below
	}
	z.endpoints(a, c, endpoints, q)
	return known
}

// service reads what stands before the namespace. Proto says that it is, or ends, the form of RFC 2782.
func service(name []string) (s cluster.ServiceName, proto bool) {
	last := len(name) - 1
	if name[last] == "_tcp" || name[last] == "_udp" {
		if last == 1 && len(name[0]) > 1 && name[0][0] == '_' {
			s.Service = name[0][1:]
		}
		return s, true
	}
	switch {
	case last == 0:
		s.Service = name[0]
	case name[last-1] == "tag":
		s.Service, s.Tag = name[last], strings.Join(name[:last-1], ".")
	}
	return s, false
}

func (z *zone) apex(a *answer, c *cluster.Catalog, q question) {
	switch q.kind {
	case dns.TypeSOA:
		a.answers.add(dns.TypeSOA, z.ttl, z.soa(q.serial)...)
	case dns.TypeNS:
		a.answers.add(dns.TypeNS, z.ttl, z.nameServer()...)
		addresses, _ := c.Node(z.self.String())
		for _, address := range addresses {
			z.glue(a, q, address, z.self.String(), "node")
		}
	}
}

// glue puts an address into the additional section, under a name in the zone.
func (z *zone) glue(a *answer, q question, address netip.Addr, name ...string) {
	a.extra.data, _ = appendName(a.extra.data, name...)
	a.extra.data = pointerToZone(a.extra.data, q, z)
	a.extra.addOwned(addressKind(address), z.ttl, address.AsSlice())
}

func (z *zone) node(a *answer, c *cluster.Catalog, name []string, q question) bool {
	addresses, known := c.Node(strings.Join(name, "."))
	if !known && name[len(name)-1] == "addr" {
		if len(name) == 1 {
			return true
		}
		raw, err := hex.DecodeString(name[0])
		address, ok := netip.AddrFromSlice(raw)
		if err != nil || !ok || len(name) != 2 {
			return false
		}
		_, _, known = c.Address(address)
		addresses = []netip.Addr{address}
	}
	if !known {
		return false
	}
	for _, address := range addresses {
		if q.kind == addressKind(address) {
			a.answers.add(q.kind, z.ttl, address.AsSlice()...)
		}
	}
	return true
}

// endpoints puts in those of the own node first.
func (z *zone) endpoints(a *answer, c *cluster.Catalog, endpoints []*cluster.CatalogEndpoint, q question) {
	if q.kind != dns.TypeA && q.kind != dns.TypeAAAA && q.kind != dns.TypeSRV {
		return
	}
	seen := make(map[netip.AddrPort]bool, len(endpoints))
	glued := map[netip.Addr]bool{}
	add := func(e *cluster.CatalogEndpoint) {
		at := netip.AddrPortFrom(e.Address, e.Port)
		if q.kind != dns.TypeSRV {
			at = netip.AddrPortFrom(e.Address, 0)
		}
		if seen[at] || (q.kind != dns.TypeSRV && q.kind != addressKind(e.Address)) {
			return
		}
		seen[at] = true
		if q.kind != dns.TypeSRV {
			a.answers.add(q.kind, z.ttl, e.Address.AsSlice()...)
			return
		}
		target := z.target(c, e)
		content := binary.BigEndian.AppendUint16([]byte{0, 1, 0, 1}, e.Port) // priority, weight, port
		content, _ = appendName(content, target...)
		a.answers.add(dns.TypeSRV, z.ttl, append(content, z.wire...)...)
		if !glued[e.Address] {
			glued[e.Address] = true
			z.glue(a, q, e.Address, target...)
		}
	}
	for _, e := range endpoints {
		if e.Node == z.self {
			add(e)
		}
	}
	a.own = len(a.answers.ends)
	for _, e := range endpoints {
		add(e)
	}
}

// target is the name, in the zone, of the address that an endpoint has: its node's, if that leads there and only there.
func (z *zone) target(c *cluster.Catalog, e *cluster.CatalogEndpoint) []string {
	name := append(strings.Split(e.NodeName, "."), "node")
	addresses, _ := c.Node(e.NodeName)
	if _, ok := appendName(slices.Clone(z.wire), name...); ok && len(e.NodeName) < maxName/3 && len(addresses) == 1 && addresses[0] == e.Address {
		return name
	}
	return []string{hex.EncodeToString(e.Address.AsSlice()), "addr", "node"}
}

// maxNames is how many nodes an address is said to belong to at most.
const maxNames = 8

// reverse answers for an address of the cluster, and is nil for any other name.
func (z *zone) reverse(c *cluster.Catalog, name []string, q question) *answer {
	address, ok := reverseAddress(name)
	if !ok {
		return nil
	}
	nodes, services, known := c.Address(address)
	if !known {
		return nil
	}
	a := &answer{}
	if q.kind != dns.TypePTR {
		a.authority.owner()
		a.authority.addOwned(dns.TypeSOA, negativeTTL, z.soa(q.serial))
		return a
	}
	for _, node := range nodes[:min(len(nodes), maxNames)] {
		z.pointer(a, append(strings.Split(node, "."), "node"))
	}
	for _, s := range services {
		if s.Namespace == cluster.DefaultNamespace {
			z.pointer(a, []string{s.Service})
		} else {
			z.pointer(a, []string{s.Service, s.Namespace, "ns"})
		}
	}
	return a
}

// pointer adds a PTR record, unless the name cannot be written.
func (z *zone) pointer(a *answer, name []string) {
	content, ok := appendName(nil, name...)
	if ok && len(content)+len(z.wire) <= maxName {
		a.answers.add(dns.TypePTR, z.ttl, append(content, z.wire...)...)
	}
}

// reverseAddress is the address that a name in in-addr.arpa or ip6.arpa stands for.
func reverseAddress(name []string) (netip.Addr, bool) {
	n := len(name)
	if n < 6 || name[n-1] != "arpa" {
		return netip.Addr{}, false
	}
	digits := slices.Clone(name[:n-2])
	slices.Reverse(digits)
	switch {
	case name[n-2] == "in-addr" && len(digits) == 4:
		address, err := netip.ParseAddr(strings.Join(digits, "."))
		return address, err == nil
	case name[n-2] == "ip6" && len(digits) == 32:
		raw, err := hex.DecodeString(strings.Join(digits, ""))
		address, ok := netip.AddrFromSlice(raw)
		return address, err == nil && ok
	}
	return netip.Addr{}, false
}
