package driver_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

func openLog(t *testing.T, dir string, c cluster.LogConfig) *driver.Log {
	t.Helper()
	l, err := driver.OpenLog(dir, "web.stdout", c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func write(t *testing.T, l *driver.Log, text string) {
	t.Helper()
	if n, err := l.Write([]byte(text)); err != nil || n != len(text) {
		t.Fatalf("wrote %d of %d: %v", n, len(text), err)
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %d", filepath.Base(p), info.Size()))
	}
	return out
}

func TestLogRotates(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "web.stderr.9"), nil, 0o644)
	os.WriteFile(filepath.Join(dir, "web.stdout.07"), nil, 0o644)
	l := openLog(t, dir, cluster.LogConfig{MaxFiles: 2, MaxFileSizeMB: 1})
	line := strings.Repeat("x", 400<<10)
	for range 7 {
		write(t, l, line)
	}
	want := []string{"web.stderr.9 0", "web.stdout.07 0", "web.stdout.2 819200", "web.stdout.3 409600"}
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	again := openLog(t, dir, cluster.LogConfig{MaxFiles: 2, MaxFileSizeMB: 1})
	if want := (driver.Position{File: 3, Offset: 409600}); again.Position() != want {
		t.Errorf("continues at %v, want %v", again.Position(), want)
	}
	write(t, again, strings.Repeat("y", 2<<20+5))
	want = []string{"web.stderr.9 0", "web.stdout.07 0", "web.stdout.4 1048576", "web.stdout.5 409605"}
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
}

func TestLogRewinds(t *testing.T) {
	dir := t.TempDir()
	config := cluster.LogConfig{MaxFiles: 3, MaxFileSizeMB: 1}
	l := openLog(t, dir, config)
	write(t, l, strings.Repeat("a", 1000<<10))
	keep := l.Position()
	write(t, l, strings.Repeat("b", 900<<10))
	write(t, l, strings.Repeat("c", 900<<10))
	again := openLog(t, dir, config)
	if err := again.Rewind(keep); err != nil {
		t.Fatal(err)
	}
	write(t, again, "d")
	content, err := os.ReadFile(filepath.Join(dir, "web.stdout.0"))
	if err != nil || !bytes.Equal(content, append(bytes.Repeat([]byte("a"), 1000<<10), 'd')) {
		t.Errorf("%d bytes, %v", len(content), err)
	}
	if got, want := files(t, dir), []string{"web.stdout.0 1024001"}; !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if err := again.Rewind(driver.Position{File: 7, Offset: 9}); err != nil {
		t.Fatal(err)
	}
	if want := (driver.Position{File: 7}); again.Position() != want {
		t.Errorf("goes on at %v, want %v", again.Position(), want)
	}
}

func TestLogDisabled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	l := openLog(t, dir, cluster.LogConfig{Disabled: true})
	write(t, l, "lost")
	if err := l.Rewind(driver.Position{File: 1}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory was made: %v", err)
	}
}

func TestLogRefusesLinks(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(t.TempDir(), "target")
	if err := os.Symlink(target, filepath.Join(dir, "web.stdout.0")); err != nil {
		t.Fatal(err)
	}
	if _, err := driver.OpenLog(dir, "web.stdout", cluster.LogConfig{}); err == nil {
		t.Error("a link was followed")
	}
	if _, err := os.Stat(target); !os.IsNotExist(err) {
		t.Errorf("the target was made: %v", err)
	}
}
