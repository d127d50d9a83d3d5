package main

import (
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// version is the release that this is; the build of a release sets it (-ldflags "-X main.version=1.2.3").
var version = "0.1.0-dev"

func (p *program) version() *cli.Command {
	return p.command(verb{
		name: "version", short: "print the version of this program", example: "cluster version", local: true,
		run: func(c *call) error {
			c.out.line("Cluster v%s", version)
			if revision := revision(); revision != "" {
				c.out.line("Revision %s", revision)
			}
			return nil
		},
	})
}

// revision is the commit that the program was built from, "" if it was not built in a repository.
func revision() string {
	about, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	revision, changed := "", ""
	for _, s := range about.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	if revision == "" {
		return ""
	}
	return revision + changed
}
