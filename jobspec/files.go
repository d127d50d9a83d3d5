package jobspec

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/a43e60e4/cluster"
)

var fileFunctions = []string{"abspath", "basename", "dirname", "file", "filebase64", "fileexists", "fileset", "pathexpand"}

// fileFunctions are the functions that touch the disk; without directories they refuse to.
func (p *parser) fileFunctions() map[string]function.Function {
	if len(p.config.Dirs) == 0 {
		refused := map[string]function.Function{}
		for _, name := range fileFunctions {
			refused[name] = refusal("filesystem function disabled")
		}
		return refused
	}
	return map[string]function.Function{
		"abspath":    onText(filepath.Abs),
		"basename":   onText(func(path string) (string, error) { return filepath.Base(path), nil }),
		"dirname":    onText(func(path string) (string, error) { return filepath.Dir(path), nil }),
		"pathexpand": onText(expandHome),
		"file": onText(func(path string) (string, error) {
			text, err := p.readFile(path)
			if err == nil && !utf8.Valid(text) {
				err = fmt.Errorf("%s is no text; use filebase64", path)
			}
			return string(text), err
		}),
		"filebase64": onText(func(path string) (string, error) {
			raw, err := p.readFile(path)
			return base64.StdEncoding.EncodeToString(raw), err
		}),
		"fileexists": function.New(&function.Spec{
			Params: []function.Parameter{{Name: "path", Type: cty.String}},
			Type:   function.StaticReturnType(cty.Bool),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				path, err := p.find(args[0].AsString())
				if errors.Is(err, fs.ErrNotExist) {
					return cty.False, nil
				}
				if err != nil {
					return cty.NilVal, err
				}
				state, err := os.Stat(path)
				return cty.BoolVal(err == nil && state.Mode().IsRegular()), err
			},
		}),
		"fileset": function.New(&function.Spec{
			Params: []function.Parameter{{Name: "path", Type: cty.String}, {Name: "pattern", Type: cty.String}},
			Type:   function.StaticReturnType(cty.Set(cty.String)),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				return p.fileSet(args[0].AsString(), args[1].AsString())
			},
		}),
	}
}

func expandHome(path string) (string, error) {
	if path != "~" && !strings.HasPrefix(path, "~/") {
		return path, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, strings.TrimPrefix(path, "~")), err
}

// find is where a path leads: relative ones into the first directory that has them.
func (p *parser) find(path string) (string, error) {
	path, err := expandHome(path)
	if err != nil || filepath.IsAbs(path) {
		return path, err
	}
	for _, dir := range p.config.Dirs {
		candidate := filepath.Join(dir, path)
		if _, err := os.Stat(candidate); err == nil {
			return candidate, nil
		}
	}
	return "", &fs.PathError{Op: "find file", Path: path, Err: fs.ErrNotExist}
}

func (p *parser) readFile(path string) ([]byte, error) {
	found, err := p.find(path)
	if err != nil {
		return nil, err
	}
	// A pipe or a device would block for ever, or never end.
	if state, err := os.Stat(found); err != nil {
		return nil, err
	} else if !state.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(found)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, cluster.MaxJobSize+1))
	if err == nil {
		err = cluster.CheckJobSize(path, len(raw))
	}
	return raw, err
}

// fileSet lists the files below a directory whose paths match a pattern, .
func (p *parser) fileSet(path, pattern string) (cty.Value, error) {
	dir, err := p.find(path)
	if err != nil {
		return cty.NilVal, err
	}
	if strings.Contains(pattern, "**") {
		return cty.NilVal, errors.New(`patterns with ** are not supported yet; write one * for each level`)
	}
	names, err := fs.Glob(os.DirFS(dir), pattern)
	if err != nil {
		return cty.NilVal, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		state, err := os.Stat(filepath.Join(dir, name))
		return err != nil || !state.Mode().IsRegular()
	})
	if len(names) == 0 {
		return cty.SetValEmpty(cty.String), nil
	}
	var values []cty.Value
	for _, name := range names {
		values = append(values, cty.StringVal(name))
	}
	return cty.SetVal(values), nil
}
