package supervise

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MarkerEnv is in the environment of every task, with the task's ID as its value. Descendants
// inherit it; where there are no cgroups it is how they are found.
const MarkerEnv = "CLUSTER_TASK_ID"

// StopStatus is the exit status with which an agent that is Ready ends the supervisor too. Any other
// status of an agent nobody asked to end is a crash, and the agent is started again.
const StopStatus = 86

// ErrUnknownTask is what the verbs of [Client] return for an ID the supervisor has no record of.
var ErrUnknownTask = errors.New("unknown task")

// ErrEnded is what signalling a task returns whose main process has ended already.
var ErrEnded = errors.New("task has ended")

// Spec says what to run. It is a value; the supervisor keeps all of it but the environment on disk.
type Spec struct {
	// ID names this attempt, for ever: "<alloc>/<task>/<n>". A second Start of the same ID starts
	// nothing. 1 to 512 bytes without NUL.
	ID string

	// Command is a path, or a name that is looked up in the PATH of Env. Args follow the name.
	Command string
	Args    []string

	// Env is the whole environment, "KEY=value"; nothing is inherited but MarkerEnv is added.
	Env []string

	// Dir is the working directory, which must exist; empty is "/".
	Dir string

	// User is a name or number, with an optional ":group"; empty is the supervisor's own.
	User string `json:",omitempty"`

	CPUShares    int64 `json:",omitempty"` // weight against other tasks, in MHz; 0: the kernel's default
	CPUHardLimit int64 `json:",omitempty"` // percent of one core; 0: none
	MemoryLimit  int64 `json:",omitempty"` // bytes; 0: none
	PidsLimit    int64 `json:",omitempty"` // processes and threads; 0: none
	OOMScoreAdj  int   `json:",omitempty"` // -1000 to 1000, what is not permitted is ignored

	Stdout, Stderr Output
}

// Output says where one stream of a task goes: files Dir/Name.0, Dir/Name.1, … of at most MaxBytes
// each, of which the newest MaxFiles are kept. Tasks with the same Dir and Name continue each
// other's files. Without a Name the stream is discarded.
type Output struct {
	Dir, Name string
	MaxBytes  int64 // 0: 10 MiB
	MaxFiles  int   // 0: 10
}

// Status is what the supervisor knows of one task.
type Status struct {
	ID        string
	PID       int       // 0 when the task never got so far
	StartedAt time.Time // zero when the task never got so far
	Exit      *Exit     `json:",omitempty"` // nil while the task or anything it started lives
}

// Exit says how a task's main process ended. By the time it is reported nothing the task started is
// left, and all its output is in the files.
type Exit struct {
	Code      int  `json:",omitempty"` // exit status; meaningless when Signal or Unknown is set
	Signal    int  `json:",omitempty"` // signal that ended it, 0 if none did
	OOMKilled bool `json:",omitempty"` // the kernel killed something of it because of its MemoryLimit
	Unknown   bool `json:",omitempty"` // it is gone, and nobody saw how
	Reboot    bool `json:",omitempty"` // it is gone because the machine was started anew
	At        time.Time
	Message   string `json:",omitempty"` // for people; set at least when Unknown
}

// Stats is what a task and all its descendants use, at one moment.
type Stats struct {
	CPU           time.Duration // since the start
	Memory        int64         // resident anonymous bytes
	MemoryCurrent int64         // all charged bytes, page cache included; 0 without a memory cgroup
	Pids          int64         // processes, or threads too where a pids cgroup counts them
	Throttled     time.Duration // time spent waiting because of CPUHardLimit
	ThrottledN    int64         // how often
}

// Mode says how the supervisor keeps hold of tasks.
type Mode struct {
	// Cgroup is true when each task has a cgroup of its own. Otherwise tasks are process groups:
	// their descendants are found by session, ancestry and MarkerEnv, and there are no limits.
	Cgroup bool

	// Controllers are those that can be used for limits and statistics, sorted: cpu, cpuacct,
	// memory, pids.
	Controllers []string

	// Reason says why something is missing; empty when nothing is.
	Reason string
}

// String returns "cgroup" or "process group".
func (m Mode) String() string {
	if m.Cgroup {
		return "cgroup"
	}
	return "process group"
}

func (s Spec) validate() error {
	switch {
	case s.ID == "" || len(s.ID) > 512 || strings.ContainsRune(s.ID, 0):
		return fmt.Errorf("start task: its ID must have 1 to 512 bytes without NUL, this has %d", len(s.ID))
	case s.Command == "":
		return fmt.Errorf("start task %q: no command given", s.ID)
	}
	for _, o := range []Output{s.Stdout, s.Stderr} {
		if strings.ContainsRune(o.Name, '/') {
			return fmt.Errorf("start task %q: output name %q contains a slash", s.ID, o.Name)
		}
		if o.Name != "" && o.Dir == "" {
			return fmt.Errorf("start task %q: output %q has no directory", s.ID, o.Name)
		}
	}
	return nil
}

// fileName turns a task's ID into a name for files and cgroups: readable, short and unique.
func fileName(id string) string {
	var b strings.Builder
	for _, r := range id {
		if b.Len() == 60 {
			break
		}
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-':
			b.WriteRune(r)
		default:
			b.WriteByte('-')
		}
	}
	sum := sha256.Sum256([]byte(id))
	return b.String() + "-" + hex.EncodeToString(sum[:8])
}
