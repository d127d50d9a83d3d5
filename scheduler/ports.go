package scheduler

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"

	"github.com/a43e60e4/cluster"
)

// collision says that a static port is taken.
func collision(label string, port int) string {
	return fmt.Sprintf("network: reserved port collision %s=%d", label, port)
}

// portLack is a port that a node cannot give: a static one, or any of its dynamic range.
// The zero value lacks nothing.
type portLack struct {
	label string
	port  int
	any   bool
}

func (l portLack) none() bool { return l == portLack{} }

func (l portLack) String() string {
	if l.any {
		return "network: no free dynamic port"
	}
	return collision(l.label, l.port)
}

// The dynamic range of a node that names none.
const (
	minDynamicPort = 20000
	maxDynamicPort = 32000
)

func dynamicRange(n *cluster.Node) (first, last int) {
	first, last = n.NodeResources.MinDynamicPort, n.NodeResources.MaxDynamicPort
	if first == 0 {
		first = minDynamicPort
	}
	if last == 0 {
		last = maxDynamicPort
	}
	return first, last
}

// portAsk is the ports that a group wants on its node.
type portAsk struct {
	static, dynamic []cluster.Port
	reserved        map[string]cluster.PortSet // by the text of nodes' reservations, parsed once
}

func newPortAsk(g *cluster.TaskGroup) portAsk {
	ask := portAsk{reserved: map[string]cluster.PortSet{}}
	for _, network := range g.Networks {
		ask.static = append(ask.static, network.ReservedPorts...)
		ask.dynamic = append(ask.dynamic, network.DynamicPorts...)
	}
	return ask
}

func (ask *portAsk) empty() bool { return len(ask.static) == 0 && len(ask.dynamic) == 0 }

// reservedOn is what the node keeps for itself. A reservation that cannot be read reserves nothing:
// the node's agent has refused it before.
func (ask *portAsk) reservedOn(n *cluster.Node) cluster.PortSet {
	text := n.ReservedResources.Networks.ReservedHostPorts
	if text == "" {
		return nil
	}
	set, known := ask.reserved[text]
	if !known {
		set, _ = cluster.ParsePorts(text)
		ask.reserved[text] = set
	}
	return set
}

// lacks is the first port that the node cannot give.
func (ask *portAsk) lacks(n *Node) portLack {
	if ask.empty() {
		return portLack{}
	}
	reserved := ask.reservedOn(n.Node)
	for _, port := range ask.static {
		if n.Ports.Has(port.Value) || reserved.Has(port.Value) {
			return portLack{label: port.Label, port: port.Value}
		}
	}
	if len(ask.dynamic) == 0 {
		return portLack{}
	}
	first, last := dynamicRange(n.Node)
	free := last - first + 1 - n.Ports.Count(first, last)
	for _, port := range ask.static {
		if port.Value >= first && port.Value <= last {
			free--
		}
	}
	if free >= len(ask.dynamic) && reserved.Count(first, last) == 0 {
		return portLack{}
	}
	taken := n.Ports
	for _, port := range ask.static {
		taken = taken.With(port.Value)
	}
	for range ask.dynamic {
		port := freePort(taken, reserved, first, first, last)
		if port == 0 {
			return portLack{any: true}
		}
		taken = taken.With(port)
	}
	return portLack{}
}

// assign chooses the ports on a node that lacks none. Dynamic ones are searched from a place that depends on the
// seed, so that a port that was just given up is not at once handed to another service.
func (ask *portAsk) assign(n Node, seed [16]byte, index int32) []cluster.AllocatedPort {
	if ask.empty() {
		return nil
	}
	ports := make([]cluster.AllocatedPort, 0, len(ask.static)+len(ask.dynamic))
	taken := n.Ports
	give := func(port cluster.Port, value int) {
		to := port.To
		if to <= 0 {
			to = value
		}
		taken = taken.With(value)
		ports = append(ports, cluster.AllocatedPort{Label: port.Label, HostIP: n.Address(), Value: int32(value), To: int32(to)})
	}
	for _, port := range ask.static {
		give(port, port.Value)
	}
	first, last := dynamicRange(n.Node)
	reserved := ask.reservedOn(n.Node)
	for _, port := range ask.dynamic {
		hash := fnv.New32a()
		hash.Write(binary.LittleEndian.AppendUint32(seed[:], uint32(index)))
		hash.Write([]byte(port.Label))
		start := first + int(hash.Sum32()%uint32(last-first+1))
		give(port, freePort(taken, reserved, start, first, last))
	}
	return ports
}

// freePort is the first free port from start to last and then from first on, 0 if there is none.
func freePort(taken, reserved cluster.PortSet, start, first, last int) int {
	search := func(from, to int) int {
		for from != 0 {
			port := taken.NextFree(from, to)
			if port == 0 || !reserved.Has(port) {
				return port
			}
			from = reserved.NextFree(port, to)
		}
		return 0
	}
	if port := search(start, last); port != 0 {
		return port
	}
	return search(first, start-1)
}
