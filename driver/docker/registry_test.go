//go:build linux

package docker

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/driver/drivertest"
)

// imageServer is a registry that serves one image, under any name with the tag "1".
type imageServer struct {
	*httptest.Server
	blobs    map[string][]byte
	manifest []byte
	password string        // "" lets everybody in
	slow     chan struct{} // when not nil, half of the layer waits for it
	pulls    atomic.Int32  // of the layer
}

const manifestType = "application/vnd.docker.distribution.manifest.v2+json"

func newImageServer(t *testing.T) *imageServer {
	t.Helper()
	r := &imageServer{blobs: map[string][]byte{}}
	content, err := os.ReadFile(drivertest.Probe(t))
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 1<<20) // no two registries have the same layer
	rand.Read(noise)
	var plain, packed bytes.Buffer
	w := tar.NewWriter(&plain)
	for name, content := range map[string][]byte{"probe": content, "noise": noise} {
		w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg})
		w.Write(content)
	}
	w.Close()
	z := gzip.NewWriter(&packed)
	z.Write(plain.Bytes())
	z.Close()
	config, _ := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Cmd": []string{"/probe", "exit", "3"}, "StopSignal": "SIGUSR1"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(plain.Bytes())}},
	})
	part := func(kind string, content []byte) map[string]any {
		r.blobs[digest(content)] = content
		return map[string]any{"mediaType": kind, "size": len(content), "digest": digest(content)}
	}
	r.manifest, _ = json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": part("application/vnd.docker.container.image.v1+json", config),
		"layers": []any{part("application/vnd.docker.image.rootfs.diff.tar.gzip", packed.Bytes())},
	})
	r.Server = httptest.NewUnstartedServer(r)
	r.Server.Config.BaseContext = func(net.Listener) context.Context { return t.Context() } // whose end lets go of who still pulls
	r.Server.Start()
	t.Cleanup(r.Close)
	return r
}

func digest(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func (r *imageServer) host() string { return strings.TrimPrefix(r.URL, "http://") }

func (r *imageServer) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if _, password, _ := q.BasicAuth(); password != r.password {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		return
	}
	parts := strings.Split(q.URL.Path, "/")
	last := parts[len(parts)-1]
	switch {
	case q.URL.Path == "/v2/":
	case strings.Contains(q.URL.Path, "/manifests/") && (last == "1" || last == digest(r.manifest)):
		w.Header().Set("Content-Type", manifestType)
		w.Header().Set("Docker-Content-Digest", digest(r.manifest))
		w.Write(r.manifest)
	case strings.Contains(q.URL.Path, "/blobs/") && r.blobs[last] != nil:
		r.blob(w, q, r.blobs[last])
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`)
	}
}

func (r *imageServer) blob(w http.ResponseWriter, q *http.Request, content []byte) {
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	if len(content) > 100000 {
		r.pulls.Add(1)
		if r.slow != nil {
			half := len(content) / 2
			w.Write(content[:half])
			content = content[half:]
			w.(http.Flusher).Flush()
			select {
			case <-r.slow:
			case <-q.Context().Done():
				return
			}
		}
	}
	w.Write(content)
}

// pulledTask is a task of an image in the registry, which the engine does not have.
func pulledTask(t *testing.T, d *Driver, r *imageServer, tag string) driver.Task {
	t.Helper()
	task := probeTask(t, d)
	name := fmt.Sprintf("%s/team/app:%s", r.host(), tag)
	task.Config = map[string]any{"image": "https://" + name}
	t.Cleanup(func() {
		d.Destroy(context.Background(), task.ID)
		d.engine.api.ImageRemove(context.Background(), name, client.ImageRemoveOptions{Force: true})
	})
	return task
}

// runs starts the task, which may be done beside the test, and waits for its end.
func runs(t *testing.T, d *Driver, task driver.Task, notice func(string)) {
	t.Helper()
	if err := d.Start(t.Context(), task, notice); err != nil {
		t.Error(err)
		return
	}
	if exit, err := d.Wait(t.Context(), task.ID); err != nil || exit.Code != 3 {
		t.Errorf("it ended with %+v, %v", exit, err)
	}
}

// TestPullOnce starts three tasks of one image that comes slowly; they share the pull, see its progress, and one gives up.
func TestPullOnce(t *testing.T) {
	d := open(t, Config{Options: options(sharedEngine(t)), Dir: t.TempDir()})
	d.pulls.noticeEvery = 10 * time.Millisecond
	r := newImageServer(t)
	r.slow = make(chan struct{})
	halfway := make(chan struct{})
	var once sync.Once
	notice := func(text string) {
		if strings.Contains(text, "/team/app:1: 0 of 1 layers") && strings.Contains(text, " % of ") {
			once.Do(func() { close(halfway) })
		}
	}
	given, giveUp := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	quitter := pulledTask(t, d, r, "1")
	go func() { gaveUp <- d.Start(given, quitter, nil) }()
	var group sync.WaitGroup
	for range 2 {
		task := pulledTask(t, d, r, "1")
		group.Go(func() { runs(t, d, task, notice) })
	}
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		group.Wait()
	}()
	select {
	case <-halfway:
	case <-ran:
		t.Fatal("nobody saw the pull's progress")
	}
	giveUp()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up got %v", err)
	}
	close(r.slow)
	<-ran
	if n := r.pulls.Load(); n != 1 {
		t.Errorf("the layer was pulled %d times", n)
	}
	runs(t, d, pulledTask(t, d, r, "1"), func(text string) { t.Errorf("the image is there, but: %s", text) })
}

func TestPullStalls(t *testing.T) {
	o := options(sharedEngine(t))
	o.PullActivityTimeout = "1500ms"
	d := open(t, Config{Options: o, Dir: t.TempDir()})
	r := newImageServer(t)
	r.slow = make(chan struct{})
	task := pulledTask(t, d, r, "1")
	err := d.Start(t.Context(), task, nil)
	if err == nil || errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), "nothing moved for 1.5s") {
		t.Errorf("a pull in which nothing moves: %v", err)
	}
	close(r.slow)
	runs(t, d, task, nil)
}

func TestPullErrors(t *testing.T) {
	d := open(t, Config{Options: options(sharedEngine(t)), Dir: t.TempDir()})
	r := newImageServer(t)
	start := func(task driver.Task) error { return d.Start(t.Context(), task, nil) }

	err := start(pulledTask(t, d, r, "none"))
	if !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), `/team/app:none": registry `+r.host()+" has no such image or tag") {
		t.Errorf("an image that is not there: %v", err)
	}
	r.password = "s3cr3t-77"
	task := pulledTask(t, d, r, "1")
	if err := start(task); !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), "refuses access") {
		t.Errorf("no credentials: %v", err)
	}
	task.Config["auth"] = map[string]any{"username": "me", "password": "wr0ng-42"}
	if err := start(task); !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), "refuses access") || strings.Contains(err.Error(), "wr0ng-42") {
		t.Errorf("wrong credentials: %v", err)
	}
	task.Config["auth"] = []any{map[string]any{"username": "me", "password": r.password}}
	runs(t, d, task, func(text string) {
		if strings.Contains(text, r.password) {
			t.Errorf("a notice shows the password: %s", text)
		}
	})
	r.Close()
	gone := pulledTask(t, d, r, "2")
	if err := start(gone); err == nil || errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), r.host()) {
		t.Errorf("a registry that is away: %v", err)
	}
	gone.Config["image"] = "Not//Good"
	if err := start(gone); !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), `"Not//Good" is not the name of an image`) {
		t.Errorf("a bad name: %v", err)
	}
}

func TestNodeCredentials(t *testing.T) {
	r := newImageServer(t)
	r.password = "fr0m-file"
	file := filepath.Join(t.TempDir(), "config.json")
	content := fmt.Sprintf(`{"auths":{"http://%s/v1/":{"auth":%q}}}`, r.host(), base64.StdEncoding.EncodeToString([]byte("me:"+r.password)))
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options(sharedEngine(t))
	o.Auth.Config = file
	d := open(t, Config{Options: o, Dir: t.TempDir()})
	runs(t, d, pulledTask(t, d, r, "1"), nil)
	if err := os.WriteFile(file, []byte(`{"auths":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context(), pulledTask(t, d, r, "3"), nil); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a broken file: %v", err)
	}
}

// TestForcePull asks the registry although the image is there, and takes no other when it does not answer.
func TestForcePull(t *testing.T) {
	d := open(t, Config{Options: options(sharedEngine(t)), Dir: t.TempDir()})
	r := newImageServer(t)
	runs(t, d, pulledTask(t, d, r, "1"), nil)
	r.Close()
	runs(t, d, pulledTask(t, d, r, "1"), nil)
	task := pulledTask(t, d, r, "1")
	task.Config["force_pull"] = true
	if err := d.Start(t.Context(), task, nil); err == nil {
		t.Error("the image was not pulled")
	}
	name := r.host() + "/team/app"
	if _, err := d.engine.api.ImageTag(t.Context(), client.ImageTagOptions{Source: name + ":1", Target: name + ":latest"}); err != nil {
		t.Fatal(err)
	}
	var said []string
	latest := pulledTask(t, d, r, "latest")
	latest.Config["image"] = name
	runs(t, d, latest, func(text string) { said = append(said, text) })
	if all := strings.Join(said, "\n"); !strings.Contains(all, "using the image that is on the node") {
		t.Errorf("it was told %q", all)
	}
}
