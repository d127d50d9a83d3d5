// Command hello is a small web service to try a cluster with: it says which instance of the job answered.
//
// It listens on the port that the job calls http. /health answers 200, or 500 with -unhealthy. SIGINT and SIGTERM let it
// finish what it is answering.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	version := flag.String("version", "1", "the text by which answers tell one release from another")
	unhealthy := flag.Bool("unhealthy", false, "let /health fail")
	failAfter := flag.Duration("fail-after", 0, "end with status 1 after this time; 0: never")
	get := flag.String("get", "", "do not serve: print what this URL answers")
	resolve := flag.String("resolve", "", "do not serve: print where the service of this name is (SRV)")
	dns := flag.String("dns", "", "ask this DNS server, host:port; with -get the URL's host is then the name of a service, and its port found with it")
	flag.Parse()
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	var err error
	switch {
	case *resolve != "":
		err = printPlaces(os.Stdout, resolver(*dns), *resolve)
	case *get != "":
		client := http.Client{Timeout: 5 * time.Second}
		if *dns != "" {
			client.Transport = &http.Transport{DialContext: dialService(resolver(*dns))}
		}
		err = fetch(os.Stdout, &client, *get)
	default:
		err = run(*version, *unhealthy, *failAfter)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// fetch prints what a URL answers: not every machine has a program for that.
func fetch(out io.Writer, client *http.Client, url string) error {
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(out, io.LimitReader(answer.Body, 1<<20)); err != nil {
		return err
	}
	if answer.StatusCode >= 400 {
		return fmt.Errorf("%s answers %s", url, answer.Status)
	}
	return nil
}

// errTold is the failure that -fail-after asks for.
var errTold = errors.New("failing as told by -fail-after")

func run(version string, unhealthy bool, failAfter time.Duration) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if failAfter > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, failAfter, errTold)
		defer cancel()
	}
	listener, err := net.Listen("tcp", ":"+port())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler(version, unhealthy), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	log.Printf("hello %s listens on %s", version, listener.Addr())
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	if errors.Is(context.Cause(ctx), errTold) {
		return errTold
	}
	log.Print("asked to end: finishing what is being answered")
	last, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return server.Shutdown(last)
}

// port is the port that the cluster chose, or 8080 without a cluster.
func port() string {
	if p := os.Getenv("NOMAD_PORT_http"); p != "" {
		return p
	}
	return "8080"
}

func handler(version string, unhealthy bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		log.Printf("answering %s", r.RemoteAddr)
		where := ""
		if node := os.Getenv("NODE"); node != "" {
			where = " on node " + node
		}
		fmt.Fprintf(w, "hello from instance %s%s, allocation %s, version %s\n",
			os.Getenv("NOMAD_ALLOC_INDEX"), where, os.Getenv("NOMAD_ALLOC_ID"), version)
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		if unhealthy {
			http.Error(w, "unhealthy as told by -unhealthy", http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}
