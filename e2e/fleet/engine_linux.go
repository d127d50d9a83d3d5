package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
)

// Engine starts a Docker engine that belongs to this machine, with its network; commands and agents that start later use
// it. It dies with the machine, containers included. Their mounts are in a mount namespace of the engine's own.
func (n *Node) Engine(ctx context.Context) error {
	socket, pidfile, runtime := filepath.Join(n.Dir, "docker.sock"), filepath.Join(n.Dir, "docker.pid"), filepath.Join(n.Dir, "engine")
	if err := errors.Join(os.RemoveAll(pidfile), os.RemoveAll(runtime)); err != nil { // as a machine's start does with /run
		return err
	}
	log, err := os.OpenFile(filepath.Join(n.Dir, "docker.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"--mount", "--propagation", "slave", "--", "dockerd",
		"--data-root", filepath.Join(n.Dir, "docker"), "--exec-root", runtime,
		"--pidfile", pidfile, "--host", "unix://" + socket,
		"--cgroup-parent", n.containerGroup(), "--userland-proxy=false"}
	if n.Address().Is6() { // else containers have IPv4 alone
		args = append(args, "--ipv6", "--fixed-cidr-v6", "fd78::/64", "--experimental", "--ip6tables")
	}
	cmd := n.Command(context.Background(), "unshare", args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, n.Dir
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start Docker engine of %s: %w", n.Name, err)
	}
	end := make(chan struct{})
	n.mu.Lock()
	n.ends[cmd.Process.Pid], n.docker = end, "unix://"+socket
	n.mu.Unlock()
	n.watched.Go(func() {
		defer close(end)
		_ = cmd.Wait() // its log says why
	})
	return Wait(ctx, patience, "Docker engine of "+n.Name, func(ctx context.Context) error {
		return n.Any(ctx, "docker", "version").Run()
	})
}

// containerGroup is the control group of the engine's containers.
func (n *Node) containerGroup() string {
	sum := sha256.Sum256([]byte(n.Dir))
	return "/cluster-e2e-" + hex.EncodeToString(sum[:6])
}

// removeContainerGroups removes what a killed engine has left of its containers' control groups.
func (n *Node) removeContainerGroups() {
	for _, top := range []string{"/sys/fs/cgroup/*", "/sys/fs/cgroup"} {
		groups, _ := filepath.Glob(top + n.containerGroup())
		for _, group := range groups {
			_ = filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
				if err == nil && entry.IsDir() && path != group {
					_ = syscall.Rmdir(path) // containers have no groups below their own
				}
				return nil
			})
			_ = syscall.Rmdir(group)
		}
	}
}

// Image makes an image with a shell, cat, sleep and the programs from what the machine has, so that nothing need be downloaded.
func (n *Node) Image(ctx context.Context, name string, programs ...string) error {
	script := `tar -ch $(ldd /bin/sh /bin/cat /bin/sleep | grep -o '/[^ :]*' | sort -u) "$@" 2>/dev/null | docker import - "$0"`
	cmd := n.Any(ctx, "sh", slices.Concat([]string{"-c", script, name}, programs)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make image: %w: %s", err, out)
	}
	return nil
}

// MissingEngine says why no Docker engine can be started, nil if one can.
func MissingEngine() error {
	for _, program := range []string{"dockerd", "docker", "containerd", "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("there is no program %s", program)
		}
	}
	return nil
}
