package supervise

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkOutput is one task that writes as fast as it can, into files that rotate.
func BenchmarkOutput(b *testing.B) {
	h := newHouse(b).begin()
	const size = 1 << 30
	b.SetBytes(size)
	for i := range b.N {
		s := h.role("flood"+strconv.Itoa(i), "flood", "BYTES="+strconv.Itoa(size))
		s.Stdout = Output{Dir: h.logs, Name: "flood", MaxBytes: 16 << 20, MaxFiles: 4}
		h.start(s)
		if e := h.exit(s.ID); e.Code != 0 {
			b.Fatalf("%+v", e)
		}
	}
}

// BenchmarkStart is the time from asking for a task to its status; report has the median.
func BenchmarkStart(b *testing.B) {
	h := newHouse(b).begin()
	var all []time.Duration
	for i := range b.N {
		s := h.sh("t"+strconv.Itoa(i), "")
		s.Command, s.Args = "/bin/true", nil
		begin := time.Now()
		h.start(s)
		all = append(all, time.Since(begin))
		h.exit(s.ID)
		h.c.Forget(h.ctx(), s.ID)
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "µs/p50")
}

// BenchmarkMemory reports what the supervisor itself occupies without and with 200 idle tasks.
func BenchmarkMemory(b *testing.B) {
	for range b.N {
		h := newHouse(b).begin()
		b.ReportMetric(pss(b, h.cmd.Process.Pid), "PSS0-KB")
		for i := range 200 {
			s := h.sh("idle"+strconv.Itoa(i), "")
			s.Command, s.Args = "/bin/sleep", []string{"1000"}
			h.start(s)
		}
		// 200 starts leave garbage behind, which a collection or two returns.
		least := pss(b, h.cmd.Process.Pid)
		b.ReportMetric(least, "PSS200-KB")
		b.ReportMetric(threads(b, h.cmd.Process.Pid), "threads")
	}
}

// pss is in KB: private pages, and a share of what the test's other processes map too.
func pss(b *testing.B, pid int) float64 {
	return field(b, fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:")
}

func threads(b *testing.B, pid int) float64 {
	return field(b, fmt.Sprintf("/proc/%d/status", pid), "Threads:")
}

func field(b *testing.B, path, name string) float64 {
	b.Helper()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == name {
			n, _ := strconv.ParseFloat(words[1], 64)
			return n
		}
	}
	b.Fatalf("%s has no %s", path, name)
	return 0
}
