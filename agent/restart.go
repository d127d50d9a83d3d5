package agent

import (
	"fmt"
	"time"

	"github.com/a43e60e4/cluster"
)

// window is the interval of a restart policy that a task is in.
type window struct {
	Start int64 // unix nanoseconds; 0: not begun
	Count int   // failures in it
}

// outcome is how an attempt to run a task came out.
type outcome struct {
	Success  bool // it ended by itself, without failure
	Hopeless bool // it could not be started, and starting it again would not help
	Batch    bool // success means that it is done
}

// verdict is what a restart policy makes of an outcome.
type verdict struct {
	Do     doing
	Delay  time.Duration // before it is started again
	Reason string
	Window window
}

// doing is what follows the end of a task.
type doing uint8

const (
	doNothing doing = iota // it is done
	doAgain
	doFail
)

// restart decides what follows the end of an attempt. jitter, in 0..1, lengthens the delay by up to a quarter.
func restart(p cluster.RestartPolicy, w window, o outcome, now int64, jitter float64) verdict {
	if o.Success && o.Batch {
		return verdict{Do: doNothing, Window: w}
	}
	if o.Hopeless {
		return verdict{Do: doFail, Window: w, Reason: "Starting it again would fail in the same way"}
	}
	if p.Attempts == 0 {
		return verdict{Do: doFail, Window: w, Reason: "The restart policy allows no restarts"}
	}
	if w.Start == 0 || now-w.Start >= int64(p.Interval) {
		w = window{Start: now}
	}
	w.Count++
	delay := p.Delay + time.Duration(jitter*float64(p.Delay)/4)
	if w.Count <= p.Attempts {
		return verdict{Do: doAgain, Delay: delay, Window: w, Reason: "Restart within policy"}
	}
	if p.Mode == cluster.RestartModeDelay {
		rest := time.Duration(w.Start + int64(p.Interval) - now)
		return verdict{Do: doAgain, Delay: rest, Window: w,
			Reason: fmt.Sprintf("Ended %d times within %s, waiting for the rest of it", w.Count, p.Interval)}
	}
	return verdict{Do: doFail, Window: w,
		Reason: fmt.Sprintf("Ended %d times within %s, more than the %d restarts allowed", w.Count, p.Interval, p.Attempts)}
}
