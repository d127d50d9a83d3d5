package e2e

import (
	"context"
	crand "crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/a43e60e4/cluster/e2e/fleet"
)

// disk gives a machine a disk of its own for its agent, of so many MiB.
func (s *site) disk(args []string) error {
	size, err := strconv.ParseUint(args[1], 10, 16)
	if err != nil {
		return err
	}
	data := s.node(args[0]).Data()
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("cluster", data, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", size)); err != nil {
		return fmt.Errorf("mount disk: %w", err)
	}
	s.disks = append(s.disks, data)
	return nil
}

// ballast is what fills a disk.
func (s *site) ballast(name string) string { return filepath.Join(s.node(name).Data(), "ballast") }

// fill leaves not a byte on the machines' disks.
func (s *site) fill(names []string) error {
	for _, name := range names {
		file, err := os.OpenFile(s.ballast(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		for block := make([]byte, 1<<12); err == nil; {
			_, err = file.Write(block)
		}
		if err := errors.Join(ignore(err, syscall.ENOSPC), file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// free gives back what fill took.
func (s *site) free(names []string) error {
	for _, name := range names {
		if err := ignore(os.Remove(s.ballast(name)), fs.ErrNotExist); err != nil {
			return err
		}
	}
	return nil
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

// flood has a machine send garbage to all ports of the nodes for some time, and returns at once.
func (s *site) flood(args []string) error {
	d, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	from := s.node(args[0])
	ctx, cancel := context.WithTimeout(context.Background(), d)
	begin := func(torrent func(context.Context)) { s.floods.Go(func() { torrent(ctx) }) }
	s.floods.Go(func() { <-ctx.Done(); cancel() })
	for _, name := range args[2:] {
		to := s.node(name)
		host := to.Address().String()
		for _, port := range []string{"4648", "8600"} {
			begin(func(ctx context.Context) { datagrams(ctx, from, net.JoinHostPort(host, port)) })
		}
		for _, port := range []string{"4647", "4648", "8600"} {
			begin(func(ctx context.Context) { streams(ctx, from, net.JoinHostPort(host, port)) })
		}
		begin(func(ctx context.Context) { streams(ctx, to, "127.0.0.1:4646") }) // nobody else may
		for _, protocol := range []string{"join/1", "http/1.1", "raft/1", "beat/1"} {
			begin(func(ctx context.Context) { handshakes(ctx, from, net.JoinHostPort(host, "4647"), protocol) })
		}
	}
	return nil
}

// garbage is up to so many random bytes, sometimes with a beginning that looks like something.
func garbage(most int) []byte {
	begin := []string{"", "", "GET / HTTP/1.1\r\n", "\x16\x03\x01\x02\x00\x01", "PUT /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n", "\xff\xff"}
	text := make([]byte, rand.N(most))
	crand.Read(text)
	return append([]byte(begin[rand.N(len(begin))]), text...)
}

// datagrams sends some thousands in a second.
func datagrams(ctx context.Context, from *fleet.Node, to string) {
	conn, err := from.DialContext(ctx, "udp", to)
	if err != nil {
		return
	}
	defer conn.Close()
	for each(ctx, 5*time.Millisecond) {
		for range 10 {
			_, _ = conn.Write(garbage(1400)) // refused, maybe
		}
	}
}

// streams opens connections, of which it leaves many open.
func streams(ctx context.Context, from *fleet.Node, to string) {
	var open []net.Conn
	defer func() {
		for _, conn := range open {
			conn.Close()
		}
	}()
	for each(ctx, 20*time.Millisecond) {
		if conn, err := from.DialContext(ctx, "tcp", to); err == nil {
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			_, _ = conn.Write(garbage(1 << 14))
			open = append(open, conn)
		}
		if len(open) > 100 {
			open[0].Close()
			open = open[1:]
		}
	}
}

// handshakes shows no certificate, and says nonsense if it gets so far.
func handshakes(ctx context.Context, from *fleet.Node, to, protocol string) {
	for each(ctx, 50*time.Millisecond) {
		conn, err := from.DialContext(ctx, "tcp", to)
		if err != nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		stranger := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}})
		_, _ = stranger.Write(garbage(1 << 12))
		_, _ = stranger.Read(make([]byte, 1<<12))
		conn.Close()
	}
}

// each lets the time pass, and reports whether there is more of it.
func each(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
