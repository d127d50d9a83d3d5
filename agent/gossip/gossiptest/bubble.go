package gossiptest

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// Bubble is synctest.Test on one processor. With more, the race detector of Go 1.26 dies (SIGSEGV in timer.maybeRunChan)
// when two goroutines of a bubble look at the same moment at tickers that fired while nobody waited for them: both use
// the bubble's one context for timers, without a lock. memberlist's goroutines do that all the time.
func Bubble(t *testing.T, test func(t *testing.T)) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, test)
}
