//go:build unix

package agent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// shell is a driver that runs `sh -c <script>`, each in a process group of its own, and writes its output itself.
type shell struct {
	*incarnation
	mu    sync.Mutex
	tasks map[string]*job
}

type job struct {
	cmd  *exec.Cmd
	over chan struct{}
	exit driver.Exit
}

func (s *shell) Start(_ context.Context, t driver.Task, _ func(string)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tasks[t.ID] != nil {
		return nil
	}
	script, _ := t.Config["script"].(string)
	out, err := driver.OpenLog(t.AllocDir+"/logs", t.Name+".stdout", t.LogConfig)
	if err != nil {
		return err
	}
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.LocalDir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for key, value := range t.Env {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	j := &job{cmd: cmd, over: make(chan struct{})}
	s.tasks[t.ID] = j
	go func() {
		defer close(j.over)
		defer out.Close()
		cmd.Wait()
		status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
		j.exit = driver.Exit{Code: max(status.ExitStatus(), 0), At: time.Now()}
		if status.Signaled() {
			j.exit = driver.Exit{Signal: int(status.Signal()), At: time.Now()}
		}
	}()
	return nil
}

func (s *shell) job(id string) (*job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.tasks[id]; j != nil {
		return j, nil
	}
	return nil, driver.ErrUnknown
}

func (s *shell) Wait(ctx context.Context, id string) (driver.Exit, error) {
	j, err := s.job(id)
	if err != nil {
		return driver.Exit{}, err
	}
	select {
	case <-j.over:
		return j.exit, nil
	case <-ctx.Done():
		return driver.Exit{}, ctx.Err()
	}
}

func (s *shell) Signal(_ context.Context, id, _ string) error {
	j, err := s.job(id)
	if err != nil {
		return err
	}
	syscall.Kill(j.cmd.Process.Pid, syscall.SIGTERM)
	return nil
}

func (s *shell) Destroy(_ context.Context, id string) error {
	j, err := s.job(id)
	if err != nil {
		return nil
	}
	syscall.Kill(-j.cmd.Process.Pid, syscall.SIGKILL)
	<-j.over
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tasks, id)
	return nil
}

// TestRealProcesses: a shell finds its directories and variables, its output is read over HTTP across a restart, a
// trap sees the signal, and the service that it offers is checked for real.
func TestRealProcesses(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	var port int32
	fmt.Sscan(web.URL[strings.LastIndex(web.URL, ":")+1:], &port)
	w := newWorld(t)
	n := w.start(0, func(c *Config) {
		c.Drivers["sh"] = &shell{incarnation: c.Control.(*incarnation), tasks: map[string]*job{}}
	})
	defer n.stop()
	n.node.probe = probe
	given := testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) {
		g := &j.TaskGroups[0]
		g.Tasks[0].Driver = "sh"
		g.Tasks[0].Env = map[string]string{"GREETING": "from ${NOMAD_JOB_ID} on ${node.unique.name}"}
		g.Tasks[0].Config = map[string]any{"script": `echo "$GREETING, ${NOMAD_PORT_http}"; echo x > "$NOMAD_ALLOC_DIR/data/made"; echo y > "$CLUSTER_TASK_DIR/own"; test -d "$NOMAD_SECRETS_DIR" || exit 9
trap 'echo bye; exit 0' TERM; while :; do sleep 0.01; done`}
		g.Services = []cluster.Service{{Name: "web", PortLabel: "http", Checks: []cluster.Check{{Type: "tcp", Interval: time.Second, Timeout: time.Second}}}}
	}, "web")
	given.Ports[0].Value = port
	a := w.change(given, nil)
	until(t, "the check passes", func() bool { return w.alloc(a.ID).Passing == 1 })
	server := httptest.NewServer(n.node.Handler())
	defer server.Close()
	fetch := func(path string) string {
		response, err := http.Get(server.URL + "/v1/client/fs/" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return string(text)
	}
	logs := func() string { return fetch("logs/" + a.ID.String() + "?task=web&type=stdout&plain=true") }
	hello := fmt.Sprintf("from job on n1, %d\n", port)
	until(t, "it says hello", func() bool { return logs() == hello })
	until(t, "it makes a file", func() bool { return fetch("cat/"+a.ID.String()+"?path=alloc/data/made") == "x\n" })
	until(t, "it makes another", func() bool { return fetch("cat/"+a.ID.String()+"?path=web/local/own") == "y\n" })
	response, err := http.Post(server.URL+"/v1/client/allocation/"+a.ID.String()+"/restart", "", nil)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response, err)
	}
	response.Body.Close()
	until(t, "it was restarted", func() bool { return logs() == hello+"bye\n"+hello })
	w.change(a, func(a *cluster.Allocation) { a.DesiredStatus = cluster.DesiredStop })
	until(t, "it has stopped", func() bool { return w.alloc(a.ID).ClientStatus == cluster.ClientComplete })
	if got := logs(); !strings.HasSuffix(got, "bye\n") {
		t.Errorf("%q", got)
	}
}
