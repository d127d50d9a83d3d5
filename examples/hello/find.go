package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"
)

// resolver asks the DNS server at the address, or with "" the machine's.
func resolver(server string) *net.Resolver {
	if server == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, server)
	}}
}

// places are where a service is: the addresses and ports behind the SRV records of its name, in the order of the answer.
func places(ctx context.Context, r *net.Resolver, name string) ([]string, error) {
	_, records, err := r.LookupSRV(ctx, "", "", name)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, record := range records {
		hosts, err := r.LookupHost(ctx, record.Target)
		if err != nil {
			return nil, err
		}
		for _, host := range hosts {
			all = append(all, net.JoinHostPort(host, strconv.Itoa(int(record.Port))))
		}
	}
	return all, nil
}

// printPlaces prints them in order, so that answers can be compared.
func printPlaces(out io.Writer, r *net.Resolver, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	all, err := places(ctx, r, name)
	if err != nil {
		return err
	}
	slices.Sort(all)
	for _, place := range all {
		fmt.Fprintln(out, place)
	}
	return nil
}

// dialService connects to the first place of a service that answers.
func dialService(r *net.Resolver) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		name, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		all, err := places(ctx, r, name)
		var first error
		for _, place := range all {
			var d net.Dialer
			conn, err := d.DialContext(ctx, network, place)
			if err == nil {
				return conn, nil
			}
			first = cmp.Or(first, err)
		}
		return nil, cmp.Or(err, first, fmt.Errorf("%s is nowhere", name))
	}
}
