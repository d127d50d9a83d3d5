package main

import (
	"context"
	"fmt"
	"os"

	"github.com/a43e60e4/cluster/agent"
	"github.com/a43e60e4/cluster/agent/supervise"
	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/driver/docker"
	"github.com/a43e60e4/cluster/driver/rawexec"
)

// openDrivers makes the drivers of this machine. Tasks of raw_exec are the supervisor's children.
func (c *machineConfig) openDrivers(client *supervise.Client) error {
	rawOptions, ignored, err := rawexec.DecodeOptions(c.agent.Plugins.RawExec.Config)
	if err != nil {
		return fmt.Errorf(`read plugin "raw_exec": %w`, err)
	}
	c.warnIgnored("raw_exec", ignored)
	core := agent.CoreMHz(c.agent.Client.CPUTotalCompute)
	raw := rawexec.New(rawexec.Config{Processes: processes{client}, Options: rawOptions, CoreMHz: core, Environ: os.Environ()})
	dockerOptions, ignored, err := docker.DecodeOptions(c.agent.Plugins.Docker.Config)
	if err != nil {
		return fmt.Errorf(`read plugin "docker": %w`, err)
	}
	c.warnIgnored("docker", ignored)
	id, err := c.dir.nodeID()
	if err != nil {
		return err
	}
	c.resolver = &resolver{}
	engine, err := docker.New(docker.Config{
		Options: dockerOptions, Dir: c.dir.docker(), NodeID: id, CoreMHz: core, Resolvers: c.resolver.answer, Logger: c.logger,
	})
	if err != nil {
		return err
	}
	c.supervisor = parent{client, raw}
	c.drivers = map[string]driver.Driver{"raw_exec": raw, "docker": engine}
	return nil
}

func (c *machineConfig) warnIgnored(plugin string, options []string) {
	for _, option := range options {
		c.logger.Warn("option is not supported yet and has no effect", "plugin", plugin, "option", option)
	}
}

// parent is the supervisor of this process.
type parent struct {
	*supervise.Client
	raw *rawexec.Driver
}

// Hear tells the driver how its tasks ended.
func (p parent) Hear(ctx context.Context) error { return hear(ctx, p.Client, p.raw) }
