//go:build unix

// Command probe is what the tasks of the driver tests run: it does one thing that a test can see from outside.
//
//	exit CODE [TEXT]    writes TEXT to stdout, "err:TEXT" to stderr, and ends
//	show ARG…           writes its arguments, environment, directory and user as JSON
//	lines N             writes N numbered lines to stdout and to stderr
//	ticks N FILE        writes numbered lines to stdout, each when FILE has grown by a byte, and ends with 9 after N
//	serve               writes "ready", names signals it gets; SIGINT and SIGTERM end it with 7
//	once FILE           appends a byte to FILE, then serves
//	stubborn FILE       ignores all signals; it and a descendant hold a lock on FILE, then "ready"
//	orphan FILE         starts such a descendant and ends with 5
//	work                uses a core and 32 MB until it gets SIGTERM
//	eat MB              touches so much memory and ends
//	listen ADDR…        answers "hello" on TCP until it is told to end
//	resolve NAME…       writes each name with its addresses, and ends
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	verb, args := os.Args[1], os.Args[2:]
	switch verb {
	case "exit":
		if len(args) > 1 {
			fmt.Println(args[1])
			fmt.Fprintln(os.Stderr, "err:"+args[1])
		}
		os.Exit(number(args[0]))
	case "show":
		show(args)
	case "lines":
		for i := range number(args[0]) {
			fmt.Printf("out %08d\n", i)
			fmt.Fprintf(os.Stderr, "err %08d\n", i)
		}
	case "ticks":
		ticks(number(args[0]), args[1])
	case "serve":
		serve()
	case "once":
		f, err := os.OpenFile(args[0], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
		check(err)
		_, err = f.WriteString("x")
		check(err)
		serve()
	case "stubborn":
		signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGUSR1)
		lock(args[0])
		descend(args[0])
		fmt.Println("ready")
		forever()
	case "orphan":
		descend(args[0])
		os.Exit(5)
	case "fork", "hold":
		hold(verb, args[0])
	case "work":
		work()
	case "eat":
		held := make([]byte, number(args[0])<<20)
		for i := range held {
			held[i] = byte(i)
		}
		fmt.Println("ate", len(held))
	case "listen":
		listen(args)
	case "resolve":
		for _, name := range args {
			addresses, err := net.LookupHost(name)
			check(err)
			fmt.Println(name, addresses)
		}
	default:
		check(fmt.Errorf("unknown verb %q", verb))
	}
}

func show(args []string) {
	dir, err := os.Getwd()
	check(err)
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{"Args": args, "Env": os.Environ(), "Dir": dir, "UID": os.Getuid()}))
}

func serve() {
	got := make(chan os.Signal, 8)
	signal.Notify(got, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1)
	fmt.Println("ready")
	for s := range got {
		fmt.Println("got", s)
		if s == syscall.SIGINT || s == syscall.SIGTERM {
			os.Exit(7)
		}
	}
}

func ticks(n int, file string) {
	signal.Ignore(syscall.SIGPIPE)
	for i := 0; i < n; {
		info, err := os.Stat(file)
		for ; err == nil && int64(i) < info.Size() && i < n; i++ {
			fmt.Printf("tick %08d\n", i)
		}
		pause()
	}
	os.Exit(9)
}

// descend starts a descendant in a session of its own, whose parent is gone, and returns when that holds the lock.
func descend(file string) {
	child := exec.Command("/proc/self/exe", "fork", file)
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := child.StdoutPipe()
	check(err)
	check(child.Start())
	_, err = io.ReadFull(out, make([]byte, 1))
	check(err)
	_ = child.Wait()
}

func hold(verb, file string) {
	if verb == "fork" {
		child := exec.Command("/proc/self/exe", "hold", file)
		child.Stdout = os.Stdout
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		check(child.Start())
		return
	}
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	lock(file)
	fmt.Print(".")
	forever()
}

func forever() { <-notified }

// notified never gets anything; that somebody waits for a signal keeps the runtime from seeing a deadlock.
var notified = func() chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGWINCH)
	return c
}()

func lock(file string) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o666)
	check(err)
	check(syscall.Flock(int(f.Fd()), syscall.LOCK_SH))
	held = append(held, f)
}

var held []*os.File // keeps locks from the collector

func work() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	memory := make([]byte, 32<<20)
	fmt.Println("ready")
	for i := 0; ; i++ {
		memory[i%len(memory)]++
		if i%len(memory) == 0 {
			select {
			case <-end:
				return
			default:
			}
		}
	}
}

func listen(addresses []string) {
	for _, a := range addresses {
		listener, err := net.Listen("tcp", a)
		check(err)
		go func() {
			for {
				conn, err := listener.Accept()
				check(err)
				fmt.Fprintln(conn, "hello")
				conn.Close()
			}
		}()
	}
	serve()
}

func pause() { <-time.After(2 * time.Millisecond) }

func number(text string) int {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(99)
	}
}
