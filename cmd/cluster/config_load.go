package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// maxConfigSize bounds a configuration file.
const maxConfigSize = 4 << 20

// agentFlags are the flags of `cluster agent`.
func agentFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "dev", Usage: "one node on a temporary directory that ends with all its tasks, raw_exec on"},
		&cli.BoolFlag{Name: "bootstrap", Usage: "begin a new cluster; later starts need it no more"},
		joinFlag(),
		&cli.StringSliceFlag{Name: "config", Usage: "read `FILE|DIR`; may be repeated, later ones win"},
		&cli.StringFlag{Name: "data-dir", Usage: "keep everything under `DIR` (root: /var/lib/cluster, else ~/.local/share/cluster)"},
		&cli.StringFlag{Name: "bind", Usage: "listen on this IP `ADDRESS` (0.0.0.0; with -dev 127.0.0.1)"},
		&cli.StringFlag{Name: "advertise", Usage: "tell other nodes to reach this one at `ADDRESS`"},
		&cli.StringFlag{Name: "name", Aliases: []string{"node"}, Usage: "call this node `NAME` (its host name)"},
		&cli.StringFlag{Name: "datacenter", Aliases: []string{"dc"}, Usage: "put this node into datacenter `DC` (dc1)"},
		&cli.StringFlag{Name: "region", Usage: "the `REGION` of the cluster; there is one, global"},
		&cli.StringFlag{Name: "node-class", Usage: "put this node into class `CLASS`"},
		&cli.StringFlag{Name: "node-pool", Usage: "put this node into pool `POOL` (default)"},
		&cli.StringSliceFlag{Name: "meta", Usage: "give this node the metadata `KEY=VALUE`; may be repeated"},
		&cli.BoolFlag{Name: "no-client", Usage: "decide only, run nothing on this node"},
		&cli.StringFlag{Name: "log-level", Usage: "log from `LEVEL` on: DEBUG, INFO, WARN or ERROR (INFO)"},
		&cli.BoolFlag{Name: "log-json", Usage: "log in JSON"},
	}
}

// parseAgentFlags is the configuration that the flags of `cluster agent` ask for: the defaults, under the files of
// -config in order, under the other flags. It reads these files, the host name and the environment, and changes nothing.
// The warnings are to be shown by the caller, also when there is an error.
func parseAgentFlags(c *cli.Context) (AgentConfig, []Warning, error) {
	config := defaultAgentConfig(c.Bool("dev"), thisMachine(os.Getenv))
	warnings, err := config.load(c.StringSlice("config"))
	if err != nil {
		return AgentConfig{}, warnings, err
	}
	if err := config.applyFlags(c); err != nil {
		return AgentConfig{}, warnings, err
	}
	if err := config.finish(); err != nil {
		return AgentConfig{}, warnings, err
	}
	return config, warnings, nil
}

// finish settles what depends on several settings, and checks all of them.
func (c *AgentConfig) finish() error {
	if c.Server.Enabled == roleUnsaid && c.Client.Enabled == roleUnsaid {
		c.Server.Enabled, c.Client.Enabled = roleOn, roleOn
		c.RolesUnsaid = true
	}
	c.Bootstrap = c.Bootstrap || c.Server.BootstrapExpect == 1
	if c.DataDir != "" {
		absolute, err := filepath.Abs(c.DataDir)
		if err != nil {
			return fmt.Errorf("check configuration: data_dir is %q: %w: want an absolute path", clip(c.DataDir), err)
		}
		c.DataDir = absolute
	} else if !c.Dev {
		return fmt.Errorf("check configuration: data_dir is not known, as the environment names no home: want -data-dir DIR")
	}
	return c.check()
}

// thisMachine is what the defaults depend on here.
func thisMachine(getenv func(string) string) machine {
	m := machine{root: os.Geteuid() == 0}
	m.hostname, _ = os.Hostname() // without one the name must be configured, which check says
	m.hostname = strings.TrimRight(m.hostname, ".")
	if base := getenv("XDG_DATA_HOME"); filepath.IsAbs(base) {
		m.dataHome = filepath.Join(base, "cluster")
	} else if home, err := os.UserHomeDir(); err == nil {
		m.dataHome = filepath.Join(home, ".local", "share", "cluster")
	}
	return m
}

// load decodes files, and the files of directories, over c.
func (c *AgentConfig) load(paths []string) ([]Warning, error) {
	decoder := &configDecoder{}
	for _, path := range paths {
		files, err := configFiles(path)
		if err != nil {
			return decoder.warnings, err
		}
		for _, file := range files {
			text, err := readConfig(file)
			if err != nil {
				return decoder.warnings, err
			}
			if err := c.decode(decoder, file, text); err != nil {
				return decoder.warnings, err
			}
		}
	}
	return decoder.warnings, nil
}

func (c *AgentConfig) decode(decoder *configDecoder, file string, text []byte) error {
	root, err := parseConfig(file, text)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := decoder.decode(root, "", reflect.ValueOf(c).Elem()); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	return nil
}

func readConfig(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfigSize+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(text) > maxConfigSize {
		return nil, fmt.Errorf("read configuration: %s is larger than %d MB", file, maxConfigSize>>20)
	}
	return text, nil
}

// configFiles are the files that a -config names: itself, or a directory's .hcl and .json files in the order of their
// names, without what editors leave behind.
func configFiles(path string) ([]string, error) {
	about, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if !about.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	var files []string
	for _, e := range entries {
		name := e.Name()
		leftover := strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") || strings.HasSuffix(name, "~")
		if !e.IsDir() && !leftover && slices.Contains([]string{".hcl", ".json"}, filepath.Ext(name)) {
			files = append(files, filepath.Join(path, name))
		}
	}
	return files, nil
}

// applyFlags puts the flags over c.
func (c *AgentConfig) applyFlags(flags *cli.Context) error {
	for name, targets := range map[string][]*string{
		"data-dir": {&c.DataDir}, "bind": {&c.Bind}, "advertise": {&c.Advertise.RPC, &c.Advertise.Serf}, "name": {&c.Name},
		"datacenter": {&c.Datacenter}, "region": {&c.Region}, "node-class": {&c.Client.NodeClass},
		"node-pool": {&c.Client.NodePool}, "log-level": {&c.LogLevel},
	} {
		for _, target := range targets {
			if flags.IsSet(name) {
				*target = flags.String(name)
			}
		}
	}
	meta := map[string]string{}
	for key, value := range c.Client.Meta {
		meta[key] = value
	}
	for _, text := range flags.StringSlice("meta") {
		key, value, found := strings.Cut(text, "=")
		if !found || strings.TrimSpace(key) == "" {
			return fmt.Errorf("read flag -meta %q: want -meta KEY=VALUE", clip(text))
		}
		meta[strings.TrimSpace(key)] = value
	}
	if len(meta) > 0 {
		c.Client.Meta = meta
	}
	c.LogJSON = c.LogJSON || flags.Bool("log-json")
	if flags.Bool("dev") {
		c.Server.Enabled, c.Client.Enabled = roleOn, roleOn
	}
	if flags.Bool("bootstrap") {
		c.Bootstrap = true
		if c.Server.Enabled == roleUnsaid && c.Client.Enabled == roleUnsaid {
			c.Client.Enabled = roleOn
		}
		c.Server.Enabled = roleOn
	}
	if flags.Bool("no-client") {
		if c.Server.Enabled == roleUnsaid && c.Client.Enabled == roleUnsaid {
			c.Server.Enabled = roleOn
		}
		c.Client.Enabled = roleOff
	}
	return nil
}
