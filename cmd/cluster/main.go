// Command cluster makes many machines one computer: it is the agent that runs on each of them, and the command line
// that people and scripts talk to it with.
package main

import (
	"context"
	"os"
	"time"
	_ "time/tzdata" // schedules name time zones, and a machine need not have their list

	"golang.org/x/term"
)

func main() {
	p := &program{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		getenv:   os.Getenv,
		now:      time.Now,
		terminal: terminalOf(os.Stdout),
		agent:    runAgent,
	}
	os.Exit(p.Run(context.Background(), os.Args[1:]))
}

// terminalOf asks whether f is a terminal and how large.
func terminalOf(f *os.File) func() (terminalSize, bool) {
	return func() (terminalSize, bool) {
		width, height, err := term.GetSize(int(f.Fd()))
		return terminalSize{width, height}, err == nil && width > 0 && height > 0
	}
}
