package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"
)

// The job files that `cluster job init` writes. They use nothing that this version does not do, and run.
var (
	//go:embed templates/example.nomad.hcl
	exampleJob string
	//go:embed templates/short.nomad.hcl
	shortJob string
)

// exampleFile is what the file is called if nothing else is said.
const exampleFile = "example.nomad.hcl"

func (p *program) jobInit(name string) *cli.Command {
	return p.command(verb{
		name: name, short: "write a job file to begin with", args: "[FILE]", max: 1, local: true,
		long:    "The file, " + exampleFile + " if nothing else is said, explains itself and runs as it is. One that is there is left alone.",
		example: "cluster job init\ncluster job init -short web.nomad.hcl",
		flags:   []cli.Flag{&cli.BoolFlag{Name: "short", Usage: "without explanations"}},
		run: func(c *call) error {
			path := exampleFile
			if c.NArg() == 1 {
				path = c.Args().First()
			}
			text := exampleJob
			if c.Bool("short") {
				text = shortJob
			}
			err := writeNew(path, text)
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("write job file: there is a %s already: write another name, or move it away", path)
			}
			if err != nil {
				return fmt.Errorf("write job file: %w", err)
			}
			c.out.line("Example job file written to %s: run it with `cluster job run %[1]s`", path)
			return nil
		},
	})
}

// writeNew writes a file that is not there yet.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
