package dns

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// stubs are the files in which those who put a resolver of their own on 127.x say whom it asks.
var stubs = []string{"/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"}

// maxResolvConf is how much of such a file is read.
const maxResolvConf = 64 << 10

// Upstreams gives the resolvers that a resolv.conf names, for Config.Upstreams. Where it names only one of this machine
// itself, such as systemd's, those that this one asks are given instead, as far as they can be found out: it might be
// told to ask us. The file is read again when it has changed. Without a file there is no resolver.
func Upstreams(path string) func() []string {
	r := &resolvConf{path: path, stubs: stubs}
	return r.servers
}

// resolvConf is a file that is read again when it has changed, which is looked at once a second.
type resolvConf struct {
	path  string
	stubs []string

	mu     sync.Mutex
	looked time.Time
	state  string // of the files, as last read
	last   []string
}

func (r *resolvConf) servers() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.looked) >= time.Second || now.Before(r.looked) {
		r.looked = now
		if state := r.stat(); state != r.state || r.last == nil {
			r.state, r.last = state, readServers(r.path, r.stubs)
		}
	}
	return r.last
}

// stat is a text that changes when a file does.
func (r *resolvConf) stat() string {
	var text strings.Builder
	for _, path := range append([]string{r.path}, r.stubs...) {
		if info, err := os.Stat(path); err == nil {
			text.WriteString(info.ModTime().String() + " ")
		}
		text.WriteString(path + "\n")
	}
	return text.String()
}

func readServers(path string, stubs []string) []string {
	servers := readResolvConf(path)
	if !onlyLoopback(servers) {
		return servers
	}
	for _, stub := range stubs {
		if behind := readResolvConf(stub); len(behind) > 0 && !onlyLoopback(behind) {
			return behind
		}
	}
	return servers
}

func onlyLoopback(servers []string) bool {
	for _, server := range servers {
		if at, err := netip.ParseAddrPort(server); err == nil && !at.Addr().IsLoopback() {
			return false
		}
	}
	return len(servers) > 0
}

func readResolvConf(path string) []string {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	return parseResolvConf(file)
}

// parseResolvConf lists the name servers as host:port. What is no address is left out, as resolvers do.
func parseResolvConf(from io.Reader) []string {
	var servers []string
	lines := bufio.NewScanner(io.LimitReader(from, maxResolvConf))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if address, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, net.JoinHostPort(address.String(), "53"))
		}
	}
	return servers
}
