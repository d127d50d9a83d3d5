package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/a43e60e4/cluster/jobspec"
	"github.com/urfave/cli/v2"
)

func (p *program) format() *cli.Command {
	return p.command(verb{
		name: "fmt", short: "lay out HCL files as is usual", args: "[FILE|DIR|-]…", max: -1, local: true,
		long: "Files are rewritten, and named if that changed them. Of a directory, also of the working one if nothing is named, it is the files\n" +
			"that end with .hcl or .nomad. Standard input (-) is written to standard output. Status: 0 done, 1 error, or -check has found some.",
		example: "cluster fmt web.hcl\ncluster fmt -recursive jobs\ncluster fmt -check -recursive .\ncluster fmt - < web.hcl",
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "check", Usage: "change nothing; status 1 if something would change"},
			&cli.BoolFlag{Name: "list", Value: true, Usage: "name the files that change; -list=false does not"},
			&cli.BoolFlag{Name: "recursive", Usage: "also the directories in directories"},
			&cli.BoolFlag{Name: "write", Value: true, Usage: "rewrite the files; -write=false does not, and with -list=false prints them instead"}},
		run: formatFiles,
	})
}

func formatFiles(c *call) error {
	names := c.Args().Slice()
	if len(names) == 0 {
		names = []string{"."}
	}
	if slices.Contains(names, "-") {
		if len(names) > 1 {
			return errors.New("format files: - stands for itself alone")
		}
		return c.formatInput()
	}
	files, err := hclFiles(names, c.Bool("recursive"))
	if err != nil {
		return fmt.Errorf("format files: %w", err)
	}
	changed, failed := 0, 0
	for _, path := range files {
		differs, err := c.formatFile(path)
		if err != nil {
			c.out.fail(err)
			failed++
		} else if differs {
			changed++
		}
	}
	if failed > 0 || c.Bool("check") && changed > 0 {
		return &exitStatus{status: exitError}
	}
	return nil
}

// formatInput formats standard input to standard output, or, with -check, only compares.
func (c *call) formatInput() error {
	text, shown, err := readFile(c, "-")
	if err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	formatted, err := jobspec.Format(jobspec.File{Name: shown, Text: text})
	if err != nil {
		return err
	}
	if !c.Bool("check") {
		_, err = c.out.w.Write(formatted)
		return err
	}
	if !bytes.Equal(text, formatted) {
		return &exitStatus{status: exitError}
	}
	return nil
}

// formatFile formats one file and reports whether that changes it.
func (c *call) formatFile(path string) (differs bool, err error) {
	text, _, err := readFile(c, path)
	if err != nil {
		return false, fmt.Errorf("format file: %w", err)
	}
	formatted, err := jobspec.Format(jobspec.File{Name: path, Text: text})
	if err != nil {
		return false, err
	}
	differs = !bytes.Equal(text, formatted)
	list, check := c.Bool("list"), c.Bool("check")
	if differs && list {
		c.out.line("%s", path)
	}
	switch {
	case check:
	case !c.Bool("write"):
		if !list {
			_, err = c.out.w.Write(formatted)
		}
	case differs:
		err = rewriteFile(path, text, formatted)
	}
	return differs, err
}

// rewriteFile puts text in the place of a file's old one. Permissions, owner and links stay as they are, and the old text does if there is no
// room for the new one.
func rewriteFile(path string, old, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("format file: %w", err)
	}
	if _, err = f.WriteAt(text, 0); err == nil {
		err = f.Truncate(int64(len(text)))
	} else if _, back := f.WriteAt(old, 0); back == nil { // what it takes up is there
		err = errors.Join(err, f.Truncate(int64(len(old))))
	} else {
		err = errors.Join(err, back)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("format file: %w", err)
	}
	return nil
}

// hclFiles are the files named, and those in the directories named, in order and each once.
func hclFiles(names []string, recursive bool) ([]string, error) {
	var files []string
	for _, name := range names {
		entry, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if !entry.IsDir() {
			files = append(files, name)
			continue
		}
		err = filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && path != name && (!recursive || strings.HasPrefix(entry.Name(), ".")):
				return fs.SkipDir
			case entry.Type().IsRegular() && slices.Contains([]string{".hcl", ".nomad"}, filepath.Ext(path)):
				files = append(files, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}
