package main

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// nameServer answers for hello.test: SRV records with the ports, and that their host is 127.0.0.1. It returns its address.
func nameServer(t *testing.T, ports ...uint16) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	go func() {
		defer close(done)
		packet := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			conn.WriteTo(answer(packet[:n], ports), from)
		}
	}()
	return conn.LocalAddr().String()
}

// answer is a reply to the question in a packet: RFC 1035, section 4.
func answer(packet []byte, ports []uint16) []byte {
	const typeA, typeSRV = 1, 33
	hello, host := []byte("\x05hello\x04test\x00"), []byte("\x04host\x04test\x00")
	name, rest := packet[12:], packet[12:]
	for rest[0] != 0 {
		rest = rest[1+rest[0]:]
	}
	name, rest = name[:len(name)-len(rest)+1], rest[1:]
	kind, code, count := binary.BigEndian.Uint16(rest), uint16(0), 0
	var records []byte
	add := func(data []byte) {
		records = append(records, 0xc0, 12) // the question's name
		records = append(records, rest[:4]...)
		records = append(records, 0, 0, 0, 0, 0, byte(len(data)))
		records = append(records, data...)
		count++
	}
	switch {
	case kind == typeSRV && bytes.Equal(name, hello):
		for _, port := range ports {
			add(append(binary.BigEndian.AppendUint16(make([]byte, 4), port), host...))
		}
	case kind == typeA && bytes.Equal(name, host):
		add([]byte{127, 0, 0, 1})
	case !bytes.Equal(name, host):
		code = 3 // there is no such name
	}
	out := binary.BigEndian.AppendUint16(packet[:2:2], 0x8180|code)
	out = append(out, 0, 1, 0, byte(count), 0, 0, 0, 0)
	out = append(out, name...)
	out = append(out, rest[:4]...)
	return append(out, records...)
}

func TestFindsServices(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.Host)) }))
	defer service.Close()
	_, text, _ := net.SplitHostPort(service.Listener.Addr().String())
	port, _ := strconv.ParseUint(text, 10, 16)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := uint16(closed.Addr().(*net.TCPAddr).Port)
	closed.Close()

	dns := resolver(nameServer(t, gone, uint16(port)))
	client := http.Client{Transport: &http.Transport{DialContext: dialService(dns), DisableKeepAlives: true}}
	for range 4 { // whichever comes first
		var out bytes.Buffer
		if err := fetch(&out, &client, "http://hello.test/"); err != nil || out.String() != "hello.test" {
			t.Fatal(out.String(), err)
		}
	}
	var out bytes.Buffer
	if err := printPlaces(&out, dns, "hello.test"); err != nil || strings.Count(out.String(), "127.0.0.1:") != 2 {
		t.Error(out.String(), err)
	}
	if err := printPlaces(&out, dns, "nothing.test"); err == nil {
		t.Error("a name that is not there is found")
	}
	if err := fetch(&out, &client, "http://nothing.test/"); err == nil {
		t.Error("a service that is not there answers")
	}
}
