package lan

import (
	"maps"
	"sync"
)

// Count counts frames, and their bytes with Ethernet's 14 byte header.
type Count struct{ Frames, Bytes uint64 }

func (c *Count) add(bytes int) { c.Frames++; c.Bytes += uint64(bytes) }

// Flow is a kind of traffic: the protocol's number in IP (6 TCP, 17 UDP), and the lower one of the two ports, which is the
// service's where clients have ephemeral ones. Both are 0 for what is neither TCP nor UDP.
type Flow struct {
	Protocol uint8
	Port     uint16
}

// Traffic is what has passed a machine's interface.
type Traffic struct {
	Sent, Received Count          // Sent also counts what was lost on the way
	Lost           Count          // of what was sent to other machines of the LAN: lost, cut off or blocked
	Flows          map[Flow]Count // sent and received together
}

// meter counts the traffic of a machine.
type meter struct {
	mu sync.Mutex
	t  Traffic
}

func (m *meter) count(which func(*Traffic) *Count, p packet, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	which(&m.t).add(bytes)
	var flow Flow
	if p.hasPorts {
		flow = Flow{p.protocol, min(p.from, p.to)}
	}
	if m.t.Flows == nil {
		m.t.Flows = map[Flow]Count{}
	}
	c := m.t.Flows[flow]
	c.add(bytes)
	m.t.Flows[flow] = c
}

func (m *meter) lost(bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.t.Lost.add(bytes)
}

func (m *meter) read() Traffic {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.t
	t.Flows = maps.Clone(t.Flows)
	return t
}

func sent(t *Traffic) *Count     { return &t.Sent }
func received(t *Traffic) *Count { return &t.Received }
