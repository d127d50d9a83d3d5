//go:build !linux

package main

// checkPlugins finds nothing wrong: there are drivers on Linux alone.
func (c *AgentConfig) checkPlugins() error { return nil }
