package fleet

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// DNSPort is where every agent answers questions for names.
const DNSPort = 8600

// Answer is what a node's DNS says to a question.
type Answer struct {
	Code    string   // NOERROR, NXDOMAIN, …
	Records []string // the data of the answers, sorted; of SRV "port target", with the addresses of Additional
	Glue    []string // "name address" of the additional records, sorted
}

// String has the code in the first line and one record in each other.
func (a Answer) String() string {
	return strings.Join(append([]string{a.Code}, append(a.Records, a.Glue...)...), "\n") + "\n"
}

// Ask asks the DNS of this machine's agent from the machine itself. kind is A, AAAA, SRV, PTR, …; network udp or tcp.
func (n *Node) Ask(ctx context.Context, network, name, kind string) (Answer, error) {
	return n.AskAt(ctx, netip.AddrPortFrom(n.Address(), DNSPort), question{network, name, kind})
}

// question is what to ask, and how.
type question struct{ network, name, kind string }

// AskAt asks any DNS from this machine.
func (n *Node) AskAt(ctx context.Context, server netip.AddrPort, q question) (Answer, error) {
	kind, known := dns.StringToType[strings.ToUpper(q.kind)]
	if !known {
		return Answer{}, fmt.Errorf("ask for %s: there is no type %s", q.name, q.kind)
	}
	conn, err := n.DialContext(ctx, q.network, server.String())
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	message := new(dns.Msg).SetQuestion(dns.Fqdn(q.name), kind)
	message.SetEdns0(1232, false)
	reply, _, err := new(dns.Client).ExchangeWithConnContext(ctx, message, &dns.Conn{Conn: conn, UDPSize: 1232})
	if err != nil {
		return Answer{}, fmt.Errorf("ask %s for %s: %w", n.Name, q.name, err)
	}
	return answerOf(reply), nil
}

func answerOf(reply *dns.Msg) Answer {
	a := Answer{Code: dns.RcodeToString[reply.Rcode]}
	for _, record := range reply.Answer {
		a.Records = append(a.Records, data(record))
	}
	for _, record := range reply.Extra {
		if record.Header().Rrtype != dns.TypeOPT {
			a.Glue = append(a.Glue, record.Header().Name+" "+data(record))
		}
	}
	slices.Sort(a.Records)
	slices.Sort(a.Glue)
	return a
}

// data is what stands behind a record's header.
func data(record dns.RR) string {
	if srv, ok := record.(*dns.SRV); ok {
		return fmt.Sprintf("%d %s", srv.Port, srv.Target)
	}
	return strings.TrimPrefix(record.String(), record.Header().String())
}

// Upstream answers questions for names outside the cluster on port 53 of this machine, in this process: the one name has the
// one address, and others do not exist. It ends with the context.
func (n *Node) Upstream(ctx context.Context, name string, address netip.Addr) error {
	conn, err := n.ListenPacket(ctx, "udp", netip.AddrPortFrom(n.Address(), 53).String())
	if err != nil {
		return fmt.Errorf("answer names on %s: %w", n.Name, err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		reply := new(dns.Msg).SetReply(question)
		header := dns.RR_Header{Name: question.Question[0].Name, Rrtype: question.Question[0].Qtype, Class: dns.ClassINET, Ttl: 1}
		switch {
		case header.Name != dns.Fqdn(name):
			reply.Rcode = dns.RcodeNameError
		case header.Rrtype == dns.TypeA && address.Is4():
			reply.Answer = []dns.RR{&dns.A{Hdr: header, A: address.AsSlice()}}
		case header.Rrtype == dns.TypeAAAA && address.Is6():
			reply.Answer = []dns.RR{&dns.AAAA{Hdr: header, AAAA: address.AsSlice()}}
		}
		_ = w.WriteMsg(reply) // who gets no answer asks again
	})}
	n.watched.Go(func() { _ = server.ActivateAndServe() }) // it ends with its socket
	context.AfterFunc(ctx, func() { conn.Close() })
	return nil
}

// Addresses asks for the IPv4 and IPv6 addresses of a name.
func (n *Node) Resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, kind := range []string{"A", "AAAA"} {
		answer, err := n.Ask(ctx, "udp", name, kind)
		if err != nil {
			return nil, err
		}
		for _, text := range answer.Records {
			if address, err := netip.ParseAddr(text); err == nil {
				all = append(all, address)
			}
		}
	}
	return all, nil
}
