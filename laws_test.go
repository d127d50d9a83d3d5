package cluster_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/a43e60e4/cluster"

// mayImport says which packages of the project a folder may import besides the root. "*" is all of them.
// A folder that is not listed may import none.
var mayImport = map[string][]string{
	"agent":             {"driver"},
	"cmd/cluster":       {"*"},
	"driver/docker":     {"driver"},
	"driver/drivertest": {"driver"},
	"driver/rawexec":    {"driver"},
	"server":            {"scheduler", "jobspec", "server/api", "server/state", "server/pki"},
	"e2e":               {"server/api", "jobspec"},
	"e2e/bench":         {"server/api"},
}

// mayUse says which folders may import a library. "" is the root.
var mayUse = map[string][]string{
	"github.com/hashicorp/cronexpr":        {""},
	"github.com/hashicorp/go-bexpr":        {"server"},
	"github.com/hashicorp/go-hclog":        {"server"},
	"github.com/hashicorp/go-version":      {"", "scheduler"},
	"github.com/hashicorp/hcl/v2":          {"jobspec", "cmd/cluster"},
	"github.com/hashicorp/raft":            {"server"},
	"github.com/hashicorp/raft-boltdb/v2":  {"server"},
	"github.com/moby/moby/api":             {"driver/docker"},
	"github.com/moby/moby/client":          {"driver/docker"},
	"github.com/containerd/errdefs":        {"driver/docker"},
	"github.com/distribution/reference":    {"driver/docker"},
	"github.com/opencontainers/image-spec": {"driver/docker"},
	"github.com/prometheus/client_golang":  {"server"},
	"github.com/rogpeppe/go-internal":      {"e2e"},
	"github.com/shirou/gopsutil/v4":        {"agent"},
	"github.com/tidwall/btree":             {"server/state"},
	"github.com/urfave/cli/v2":             {"cmd/cluster"},
	"github.com/zclconf/go-cty":            {"jobspec", "cmd/cluster"},
	"github.com/agext/levenshtein":         {"jobspec", "cmd/cluster"},
	"go.etcd.io/bbolt":                     {"server"},
	"golang.org/x/net":                     {"driver/docker"},
	"golang.org/x/sync":                    {"agent", "server", "cmd/cluster", "scheduler", "driver/docker", "driver/rawexec"},
	"golang.org/x/sys":                     {"agent", "agent/supervise", "cmd/cluster", "driver", "driver/docker", "driver/rawexec", "driver/drivertest"},
	"golang.org/x/term":                    {"cmd/cluster"},
	"golang.org/x/text":                    {"jobspec"},
	"pgregory.net/rapid":                   {"", "scheduler", "server/state", "jobspec"},
}

// pure lists the folders that decide: no clock and no dice in them.
var pure = []string{"", "jobspec", "scheduler", "server/state"}

const (
	longestFunction = 80  // lines
	longestFile     = 700 // lines
	widestInterface = 6   // methods
)

// source is one parsed Go file of the module.
type source struct {
	folder string // "" is the root
	path   string
	file   *ast.File
	lines  int
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

var fset = token.NewFileSet()

// sources parses every Go file of the module. Folders with a go.mod of their own are other modules.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "bin") {
				return fs.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); path != "." && err == nil {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		folder := filepath.ToSlash(filepath.Dir(path))
		if folder == "." {
			folder = ""
		}
		all = append(all, source{folder, filepath.ToSlash(path), file, fset.Position(file.End()).Line})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func imports(s source) []string {
	var paths []string
	for _, spec := range s.file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		paths = append(paths, path)
	}
	return paths
}

func TestFoldersImportOnlyWhatTheyMay(t *testing.T) {
	for _, s := range sources(t) {
		for _, path := range imports(s) {
			inner, ours := strings.CutPrefix(path, module+"/")
			if !ours || inner == s.folder {
				continue
			}
			allowed := mayImport[s.folder]
			if s.isTest() && inner == "driver/drivertest" && strings.HasPrefix(s.folder, "driver/") {
				continue
			}
			if !slices.Contains(allowed, inner) && !slices.Contains(allowed, "*") {
				t.Errorf("%s imports %s: %q may import %v", s.path, path, s.folder, allowed)
			}
		}
	}
}

func TestLibrariesHaveKnownUsers(t *testing.T) {
	for _, s := range sources(t) {
		for _, path := range imports(s) {
			if !strings.Contains(strings.Split(path, "/")[0], ".") || strings.HasPrefix(path, module) {
				continue
			}
			library := libraryOf(path)
			if library == "" {
				t.Errorf("%s imports %s: the library is not listed", s.path, path)
			} else if !slices.Contains(mayUse[library], s.folder) {
				t.Errorf("%s imports %s: only %q may", s.path, path, mayUse[library])
			}
		}
	}
}

// libraryOf is the listed library that the package belongs to, "" if there is none.
func libraryOf(path string) string {
	best := ""
	for library := range mayUse {
		if (path == library || strings.HasPrefix(path, library+"/")) && len(library) > len(best) {
			best = library
		}
	}
	return best
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if !s.isTest() {
			documented[s.folder] = documented[s.folder] || s.file.Doc != nil
		}
	}
	for folder, ok := range documented {
		if !ok {
			t.Errorf("package %q has no doc comment", folder)
		}
	}
}

func TestDecidingCodeHasNoClockAndNoDice(t *testing.T) {
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}
	for _, s := range sources(t) {
		if s.isTest() || !slices.Contains(pure, s.folder) {
			continue
		}
		for _, path := range imports(s) {
			if path == "math/rand" || path == "math/rand/v2" || path == "crypto/rand" || path == "log" || path == "log/slog" {
				t.Errorf("%s imports %s: deciding code has neither dice nor logger", s.path, path)
			}
		}
		calls(s, func(pkg, name string, at token.Pos) {
			if pkg == "time" && slices.Contains(clock, name) {
				t.Errorf("%s calls time.%s: time is an input here", fset.Position(at), name)
			}
		})
	}
}

func TestTestsDoNotSleep(t *testing.T) {
	for _, s := range sources(t) {
		if !s.isTest() || usesBubble(s) {
			continue
		}
		calls(s, func(pkg, name string, at token.Pos) {
			if pkg == "time" && name == "Sleep" {
				t.Errorf("%s: wait for what should happen, not for time", fset.Position(at))
			}
		})
	}
}

// usesBubble reports whether the file's tests run in fake time, where sleeping is free.
func usesBubble(s source) bool { return slices.Contains(imports(s), "testing/synctest") }

// calls reports every call of the form pkg.name(…).
func calls(s source, report func(pkg, name string, at token.Pos)) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Obj == nil {
					report(pkg.Name, sel.Sel.Name, call.Pos())
				}
			}
		}
		return true
	})
}

func TestNothingNeedsScrolling(t *testing.T) {
	for _, s := range sources(t) {
		if s.lines > longestFile && !s.isTest() {
			t.Errorf("%s has %d lines, over %d", s.path, s.lines, longestFile)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				from, to := fset.Position(n.Pos()).Line, fset.Position(n.End()).Line
				if to-from+1 > longestFunction {
					t.Errorf("%s: %s has %d lines, over %d", s.path, n.Name.Name, to-from+1, longestFunction)
				}
			case *ast.InterfaceType:
				if n.Methods.NumFields() > widestInterface {
					t.Errorf("%s: an interface has %d methods, over %d", fset.Position(n.Pos()), n.Methods.NumFields(), widestInterface)
				}
			}
			return true
		})
	}
}

func TestTopLevelIsAsAgreed(t *testing.T) {
	allowed := []string{"agent", "server", "jobspec", "scheduler", "driver", "cmd", "e2e", "docs", "examples", "bin", ".ci", ".git"}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() && !slices.Contains(allowed, entry.Name()) {
			t.Errorf("folder %s does not belong to the top level", entry.Name())
		}
	}
	forbidden := []string{"util", "utils", "helper", "helpers", "common", "internal", "pkg", "shared", "lib"}
	for _, s := range sources(t) {
		if slices.Contains(forbidden, filepath.Base(s.folder)) {
			t.Errorf("%s: a folder of that name says nothing", s.path)
		}
	}
}
