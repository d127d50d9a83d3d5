package e2e

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var (
	killSeed  = flag.Uint64("kill.seed", 0, "of the moments and deeds of TestKill; 0: a new one")
	killTimes = flag.Int("kill.times", 50, "how many moments TestKill has")
)

// killJob is the job file of TestKill. The first line of a script tells whose process it is.
const killJob = `
variable "name" {}
variable "release" {}
variable "script" {}
variable "type" {
  default = "service"
}
variable "count" {
  type    = number
  default = 1
}
variable "attempts" {
  type    = number
  default = 0
}

job "kill" {
  id   = var.name
  type = var.type
  group "app" {
    count = var.count
    restart {
      attempts = var.attempts
      interval = "24h"
      delay    = "50ms"
      mode     = "fail"
    }
    reschedule {
      attempts  = 0
      unlimited = false
    }
    %s
    task "app" {
      driver = "raw_exec"
      config {
        command = "sh"
        args    = ["-c", "# job ${var.name} ${var.release}\n${var.script}"]
      }
      resources {
        cpu    = 1
        memory = 10
      }
    }
  }
}
`

// The scripts of the jobs. Of a counter the number of the last line is in a file when it was asked to end; a failer leaves
// a line for each of its starts; an ender's exit code follows from its index.
const (
	counterScript = `n=1; stop=; trap 'stop=1' INT TERM
until [ $stop ]; do echo $n; n=$((n+1)); case $n in *5|*0) sleep 0.05;; esac; done
echo $((n-1)) >$NOMAD_ALLOC_DIR/last`
	failerScript = `echo >>$NOMAD_ALLOC_DIR/starts; sleep 0.7; exit 3`
	enderScript  = `sleep %.2f; exit $((NOMAD_ALLOC_INDEX * 3))`
)

// churn is a world in which much happens, and what it should come to.
type churn struct {
	*world
	t                *testing.T
	dice             *rand.Rand
	wanted           map[string]int    // processes by "job release"
	kept             map[string]string // the release by job of those that are changed
	kills            []time.Time       // of the supervisor
	remembers        bool              // the kernel knows how everything ended: nothing may be said to be unknown
	releases, enders int
}

// TestKill kills the agent, its supervisor or both at random moments while jobs come, change, end by themselves and are
// stopped. Afterwards exactly what is wanted runs, exit codes and restart counts are right, and no line of a log is lost.
func TestKill(t *testing.T) {
	t.Parallel()
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("go test ./e2e -run TestKill -kill.seed %d -kill.times %d", seed, *killTimes)
	c := &churn{world: scratch(t), t: t, dice: rand.New(rand.NewPCG(seed, 0)), wanted: map[string]int{}, kept: map[string]string{},
		remembers: remembers()}
	if !c.remembers {
		t.Log("an exit may be unknown: that needs Linux 6.15, root and the unified hierarchy of control groups")
	}
	c.begin()
	for i := range *killTimes {
		c.change(i)
		<-time.After(time.Duration(c.dice.IntN(800)) * time.Millisecond)
		c.strike()
	}
	c.check(c.ready())
	c.checkProcesses()
	c.checkEnders()
	c.checkFailer()
	c.checkCounters()
}

// remembers reports whether this kernel tells a stranger how a process of a control group ended, even after it was reaped.
func remembers() bool {
	groups, _ := os.ReadFile("/proc/self/cgroup")
	if os.Geteuid() != 0 || !strings.Contains("\n"+string(groups), "\n0::") {
		return false
	}
	pidfd := -1
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &pidfd}
	if cmd.Run() != nil || pidfd < 0 {
		return false
	}
	defer unix.Close(pidfd)
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), unix.PIDFD_GET_INFO, uintptr(unsafe.Pointer(&info)))
	return errno == 0 && info.Mask&unix.PIDFD_INFO_EXIT != 0
}

func (c *churn) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *churn) begin() {
	service, batch := fmt.Sprintf(killJob, "update {\n min_healthy_time = \"0s\"\n max_parallel = 5\n }"), fmt.Sprintf(killJob, "")
	for file, text := range map[string]string{
		"service.hcl": service, "batch.hcl": batch, "one.hcl": "client {\n  gc_max_allocs = 5000\n}\n",
	} {
		c.check(os.WriteFile(filepath.Join(c.dir, file), []byte(text), 0o600))
	}
	c.check(c.launch("one"))
	c.check(c.ready())
	c.count("steady", 1)
	for i := range 3 {
		c.count(fmt.Sprint("counter-", i), 2)
	}
	c.order("job", "run", "-detach", "-var", "name=failer", "-var", "release=1", "-var", "script="+failerScript,
		"-var", "attempts=100000", "service.hcl")
	c.wanted["failer 1"] = 1
	c.check(c.wait("the first line of the steady job", func() bool {
		out, _, _ := c.run("alloc", "logs", "-job", "steady")
		return out != ""
	}))
	c.check(c.follow("steady", "alloc", "logs", "-f", "-job", "steady"))
}

// order repeats a command until it is obeyed: the agent is away now and then.
func (c *churn) order(args ...string) {
	c.t.Helper()
	said := ""
	err := c.wait("the agent", func() bool {
		out, errs, err := c.run(args...)
		said = out + errs
		return err == nil
	})
	if err != nil {
		c.t.Fatalf("%s: %v; it says %s", strings.Join(args[:2], " "), err, said)
	}
}

// count makes a counter job, or replaces it by another release.
func (c *churn) count(job string, count int) {
	release := c.kept[job]
	if release == "" || c.dice.IntN(2) == 0 { // else only the count changes
		c.releases++
		release = strconv.Itoa(c.releases)
	}
	c.order("job", "run", "-detach", "-var", "name="+job, "-var", "release="+release, "-var", "script="+counterScript,
		"-var", "count="+strconv.Itoa(count), "-var", "attempts=100", "service.hcl")
	delete(c.wanted, job+" "+c.kept[job])
	c.wanted[job+" "+release], c.kept[job] = count, release
}

// change does something to the jobs.
func (c *churn) change(i int) {
	name := fmt.Sprint("ender-", i)
	c.order("job", "run", "-detach", "-var", "name="+name, "-var", "release=1", "-var", "type=batch", "-var", "count=3",
		"-var", "script="+fmt.Sprintf(enderScript, c.dice.Float64()*0.8), "batch.hcl")
	c.enders++
	job := fmt.Sprint("counter-", c.dice.IntN(3))
	switch c.dice.IntN(4) {
	case 0:
		c.order("job", "stop", "-detach", job)
		c.wanted[job+" "+c.kept[job]] = 0
	case 1, 2:
		c.count(job, 1+c.dice.IntN(3))
	}
}

// strike kills, and starts again what nobody else does.
func (c *churn) strike() {
	what := []string{"agent", "supervisor", "both"}[c.dice.IntN(3)]
	err := c.crash("one", what)
	if errors.Is(err, errNoAgent) && what == "both" {
		what, err = "supervisor", c.crash("one", "supervisor")
	}
	if errors.Is(err, errNoAgent) {
		err = nil // it is about to be started
	}
	c.check(err)
	if what == "agent" {
		return
	}
	c.kills = append(c.kills, time.Now())
	<-time.After(time.Duration(c.dice.IntN(400)) * time.Millisecond)
	c.check(c.launch("one"))
	if c.dice.IntN(2) == 0 {
		c.check(c.ready())
	}
}

// allocation is what the API tells of one.
type allocation struct {
	ID, Name, ClientStatus, DesiredStatus string
	TaskStates                            map[string]struct {
		State                 string
		Failed                bool
		Restarts              int
		StartedAt, FinishedAt time.Time
		Events                []struct {
			Type, DisplayMessage, Message string
			Details                       map[string]string
		}
	}
}

func (c *churn) allocations(job string) []allocation {
	c.t.Helper()
	out, errs, err := c.run("operator", "api", "/v1/job/"+job+"/allocations?all=true")
	if err != nil {
		c.t.Fatalf("list allocations of %s: %v: %s", job, err, errs)
	}
	var list []allocation
	c.check(json.Unmarshal([]byte(out), &list))
	return list
}

var ofJob = regexp.MustCompile(`# job (\S+ \S+)`)

// checkProcesses waits until the wanted processes are there and no others: but for a failer between two attempts.
func (c *churn) checkProcesses() {
	c.t.Helper()
	maps.DeleteFunc(c.wanted, func(_ string, n int) bool { return n == 0 })
	var have map[string]int
	var strays []process
	err := c.wait("the wanted processes", func() bool {
		have, strays = map[string]int{}, nil
		supervisor := c.agents["one"].Process.Pid
		ours := map[int]bool{supervisor: true, c.agentOf(supervisor): true, c.followers["steady"].cmd.Process.Pid: true}
		all := processes()
		for _, p := range all {
			if job := ofJob.FindStringSubmatch(p.line); job != nil && p.task != "" && p.script == c.dir && p.state != "Z" {
				have[job[1]]++
				ours[p.pid] = true
			}
		}
		for _, p := range all {
			if p.script == c.dir && !ours[p.pid] && !ours[p.parent] || p.state == "Z" && ours[p.parent] {
				strays = append(strays, p)
			}
		}
		return maps.Equal(have, c.wanted) && len(strays) == 0
	})
	if err != nil {
		for job := range c.kept {
			c.t.Logf("%s: %+v", job, c.allocations(job))
		}
		c.t.Fatalf("%v: want %v, have %v and besides %+v", err, c.wanted, have, strays)
	}
}

// struck reports whether the supervisor was killed in a task's life, or so shortly before or after that it may matter.
func (c *churn) struck(from, to time.Time) bool {
	return slices.ContainsFunc(c.kills, func(at time.Time) bool {
		return at.After(from.Add(-2*time.Second)) && at.Before(to.Add(2*time.Second))
	})
}

// checkEnders wants every exit code as it was, or, if the supervisor was killed meanwhile and the kernel forgets, said to be
// unknown.
func (c *churn) checkEnders() {
	exact, unknown := 0, 0
	for i := range c.enders {
		name := fmt.Sprint("ender-", i)
		var list []allocation
		c.check(c.wait("the end of "+name, func() bool {
			list = c.allocations(name)
			return len(list) == 3 && !slices.ContainsFunc(list, func(a allocation) bool {
				return a.ClientStatus == "running" || a.ClientStatus == "pending"
			})
		}))
		for _, a := range list {
			lost, err := c.checkEnder(a)
			if err != nil {
				c.t.Errorf("%s: %v: %+v", a.Name, err, a)
			}
			if lost {
				unknown++
			} else {
				exact++
			}
		}
	}
	c.t.Logf("%d exit codes known, %d unknown, %d kills of a supervisor", exact, unknown, len(c.kills))
}

// checkEnder reports whether the end of one instance is said to be unknown.
func (c *churn) checkEnder(a allocation) (lost bool, err error) {
	index, err := strconv.Atoi(strings.Trim(a.Name[strings.Index(a.Name, "["):], "[]"))
	if err != nil {
		return false, err
	}
	task := a.TaskStates["app"]
	var codes []string
	for _, e := range task.Events {
		if e.Type == "Terminated" {
			codes = append(codes, e.Details["exit_code"])
			lost = strings.Contains(e.DisplayMessage, "Exit Message")
		}
	}
	status := "failed"
	if index == 0 && !lost {
		status = "complete"
	}
	switch {
	case len(codes) != 1 || task.Restarts != 0:
		return lost, fmt.Errorf("it ended %d times", len(codes))
	case a.ClientStatus != status:
		return lost, fmt.Errorf("it should be %s", status)
	case lost && (c.remembers || !c.struck(task.StartedAt, task.FinishedAt)):
		return lost, errors.New("its exit code is unknown, though somebody was there all the time")
	case !lost && codes[0] != strconv.Itoa(index*3):
		return lost, fmt.Errorf("it should have ended with %d", index*3)
	}
	return lost, nil
}

// checkFailer wants as many restarts as there were further starts; the stop may come between a restart and the first line
// of what it starts. Where the kernel forgets, so may a kill of the supervisor.
func (c *churn) checkFailer() {
	c.order("job", "stop", "failer")
	list := c.allocations("failer")
	if len(list) != 1 {
		c.t.Fatalf("the failer has %d allocations: %+v", len(list), list)
	}
	text, err := os.ReadFile(filepath.Join(c.dir, "one", "alloc", list[0].ID, "alloc", "starts"))
	c.check(err)
	starts, restarts := strings.Count(string(text), "\n"), list[0].TaskStates["app"].Restarts
	most := starts
	if !c.remembers {
		most += len(c.kills)
	}
	if restarts+1 < starts || restarts > most || restarts == 0 {
		c.t.Errorf("the failer was started %d times and has %d restarts", starts, restarts)
	}
	c.t.Logf("the failer was started %d times and has %d restarts", starts, restarts)
}

// checkCounters wants every line of every log, once, also of what ended while neither agent nor supervisor lived.
func (c *churn) checkCounters() {
	lines := 0
	for job := range c.kept {
		c.order("job", "stop", job)
		for _, a := range c.allocations(job) {
			task := a.TaskStates["app"]
			interrupted := 0 // starts, by the end of the supervisor, of which the kernel does not tell how far they came
			for _, e := range task.Events {
				if !c.remembers && e.Type == "Terminated" && strings.Contains(e.DisplayMessage, "start was interrupted") {
					interrupted++
				}
			}
			if task.Restarts > interrupted {
				c.t.Errorf("%s was started again: %+v", a.Name, a)
			}
			last, err := os.ReadFile(filepath.Join(c.dir, "one", "alloc", a.ID, "alloc", "last"))
			if err != nil {
				last = nil // asked to end before its first line, or even before it was started
			}
			n, err := c.countLines(a.ID, string(last))
			if err != nil {
				c.t.Errorf("log of %s: %v: %+v", a.Name, err, a)
			}
			lines += n
		}
	}
	c.check(c.join("steady"))
	followed, err := os.ReadFile(filepath.Join(c.dir, "steady.out"))
	c.check(err)
	out, _, err := c.run("alloc", "logs", c.allocations("steady")[0].ID)
	c.check(err)
	if string(followed) != out {
		c.t.Errorf("following the steady job showed %d bytes, there are %d", len(followed), len(out))
	}
	c.t.Logf("%d lines of counters", lines)
}

// countLines counts the lines of a log, which must be the numbers from 1 to last. Where last is empty, there may be none.
func (c *churn) countLines(id, last string) (int, error) {
	out, errs, err := c.run("alloc", "logs", id)
	switch {
	case last == "" && out == "":
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("%w: %s", err, errs)
	}
	if err := sequence(out); err != nil {
		return 0, err
	}
	if !strings.HasPrefix(out, "1\n") || !strings.HasSuffix("\n"+out, "\n"+last) {
		return 0, fmt.Errorf("it has the lines from %.10q to %q, and the last was %q", out, out[max(0, len(out)-10):], last)
	}
	return strings.Count(out, "\n"), nil
}
