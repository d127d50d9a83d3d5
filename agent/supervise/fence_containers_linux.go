package supervise

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// enginePatience is how long the container engine may take to answer.
	enginePatience = 5 * time.Second

	// allocLabel is on all containers of an allocation, allocEnv in the environment of all that they run.
	allocLabel = "com.hashicorp.nomad.alloc_id"
	allocEnv   = "NOMAD_ALLOC_ID"

	maxListing = 8 << 20 // bytes of the engine's answer
)

// engineSocket is where the container engine listens.
func engineSocket() string {
	if path, ok := strings.CutPrefix(os.Getenv("DOCKER_HOST"), "unix://"); ok {
		return path
	}
	return "/var/run/docker.sock"
}

// killContainers has the engine kill the allocation's containers. An engine that is not there is no error.
func killContainers(ctx context.Context, socket, alloc string) error {
	if _, err := os.Stat(socket); err != nil {
		return nil
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	ask := func(method, path string) ([]byte, error) {
		q, err := http.NewRequestWithContext(ctx, method, "http://engine"+path, nil)
		if err != nil {
			return nil, err
		}
		answer, err := transport.RoundTrip(q)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(io.LimitReader(answer.Body, maxListing))
		if err == nil && answer.StatusCode/100 != 2 && answer.StatusCode != http.StatusConflict && answer.StatusCode != http.StatusNotFound {
			err = fmt.Errorf("status %d: %.200q", answer.StatusCode, body)
		}
		return body, err
	}
	filters, err := json.Marshal(map[string][]string{"label": {allocLabel + "=" + alloc}})
	if err != nil {
		return err
	}
	listing, err := ask(http.MethodGet, "/containers/json?filters="+url.QueryEscape(string(filters)))
	var found []struct{ Id string }
	if err == nil {
		err = json.Unmarshal(listing, &found)
	}
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, c := range found {
		if _, err := ask(http.MethodPost, "/containers/"+url.PathEscape(c.Id)+"/kill?signal=KILL"); err != nil {
			return fmt.Errorf("kill container %.12s: %w", c.Id, err)
		}
	}
	return nil
}

// containerID is how engines name a container in its control groups.
var containerID = regexp.MustCompile(`[0-9a-f]{64}`)

// strikeMarked kills the processes that began with the allocation's ID in their environment, and all that are in a
// container with one of them. It reports how many it found.
func strikeMarked(alloc string) (int, error) {
	all, err := processes()
	if err != nil {
		return 0, err
	}
	homes := map[string]bool{}
	marked := map[int]bool{}
	want := []byte(allocEnv + "=" + alloc)
	for _, p := range all {
		env, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/environ")
		if err != nil || !p.alive() {
			continue
		}
		for entry := range bytes.SplitSeq(env, []byte{0}) {
			if bytes.Equal(entry, want) {
				marked[p.pid] = true
				if id := containerOf(p.pid); id != "" {
					homes[id] = true
				}
				break
			}
		}
	}
	found := 0
	for _, p := range all {
		if !marked[p.pid] && (len(homes) == 0 || !homes[containerOf(p.pid)]) {
			continue
		}
		fd, err := openProcess(p.pid, p.start)
		if err != nil {
			continue
		}
		found++
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		unix.Close(fd)
	}
	return found, nil
}

// containerOf is the ID of the container that a process is in, "" if none can be seen.
func containerOf(pid int) string {
	groups, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return ""
	}
	return string(containerID.Find(groups))
}
