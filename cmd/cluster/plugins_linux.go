package main

import (
	"fmt"

	"github.com/a43e60e4/cluster/driver/docker"
	"github.com/a43e60e4/cluster/driver/rawexec"
)

// checkPlugins asks the drivers whether they understand their options.
func (c *AgentConfig) checkPlugins() error {
	if _, _, err := rawexec.DecodeOptions(c.Plugins.RawExec.Config); err != nil {
		return fmt.Errorf(`%splugin "raw_exec": %w`, c.Plugins.RawExec.where(), err)
	}
	if _, _, err := docker.DecodeOptions(c.Plugins.Docker.Config); err != nil {
		return fmt.Errorf(`%splugin "docker": %w`, c.Plugins.Docker.where(), err)
	}
	return nil
}
