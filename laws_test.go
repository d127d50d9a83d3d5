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
	"agent":              {"driver"},
	"agent/gossip":       {"agent/gossip/gossiptest"}, // tests only
	"cmd/cluster":        {"*"},
	"driver/docker":      {"driver"},
	"driver/drivertest":  {"driver"},
	"driver/rawexec":     {"driver"},
	"server":             {"scheduler", "jobspec", "server/api", "server/state", "server/pki", "server/link"},
	"server/link":        {"server/pki"},
	"e2e":                {"server/api", "jobspec", "e2e/lan", "e2e/fleet"},
	"e2e/bench":          {"server/api"},
	"e2e/bench/failover": {"server/api", "e2e/lan", "e2e/fleet"},
	"e2e/fleet":          {"server/api", "e2e/lan"},
}

// mayUse says which folders may import a library. "" is the root.
var mayUse = map[string][]string{
	"github.com/hashicorp/cronexpr":        {""},
	"github.com/hashicorp/go-bexpr":        {"server"},
	"github.com/hashicorp/go-hclog":        {"server"},
	"github.com/hashicorp/go-version":      {"", "scheduler"},
	"github.com/hashicorp/hcl/v2":          {"jobspec", "cmd/cluster"},
	"github.com/hashicorp/memberlist":      {"agent/gossip", "agent/gossip/gossiptest"},
	"github.com/hashicorp/raft":            {"server"},
	"github.com/hashicorp/raft-boltdb/v2":  {"server"},
	"github.com/miekg/dns":                 {"agent/dns", "cmd/cluster", "e2e", "e2e/fleet"},
	"github.com/anishathalye/porcupine":    {"e2e"},
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
	"github.com/zclconf/go-cty-yaml":       {"jobspec"},
	"github.com/agext/levenshtein":         {"", "cmd/cluster"},
	"go.etcd.io/bbolt":                     {"server"},
	"golang.org/x/crypto":                  {"jobspec"},
	"golang.org/x/net":                     {"driver/docker", "agent/dns", "e2e/bench"},
	"golang.org/x/sync":                    {"agent", "agent/gossip", "agent/dns", "server", "server/link", "cmd/cluster", "scheduler", "driver/docker", "driver/rawexec"},
	"golang.org/x/sys":                     {"agent", "agent/dns", "e2e", "e2e/lan", "agent/supervise", "cmd/cluster", "driver", "driver/docker", "driver/rawexec", "driver/drivertest"},
	"golang.org/x/term":                    {"cmd/cluster"},
	"golang.org/x/text":                    {"jobspec"},
	"pgregory.net/rapid":                   {"", "scheduler", "server/state", "jobspec", "agent/gossip"},
}

// pure lists the folders that decide: no clock and no dice in them.
var pure = []string{"", "jobspec", "scheduler", "server/state"}

const (
	longestFunction = 80  // lines
	longestFile     = 700 // lines
	widestInterface = 6   // methods
	mostParameters  = 5   // besides a context
)

// logKeys are the names of facts in the log: first those of everything, then those that a few messages need.
var logKeys = []string{
	"node", "job", "group", "alloc", "eval", "index", "epoch", "err",
	"task", "deployment", "status", "why", "code", "signal", "unknown", "pid", "mode", "delay", "grace", "until", "for",
	"file", "executable", "plugin", "option", "container", "image", "warning",
	"slot", "peer", "protocol", "method", "path", "objects", "stale", "dropped", "stack",
}

// longGoroutines are the functions that start a goroutine which somebody else waits for, or which ends with the process.
// Every other go statement stands where its end is awaited.
var longGoroutines = map[string]string{
	"agent/supervise.newChildren": "the thread that forks ends with the process",
	"agent/supervise.newClient":   "both end with the connection; Done tells",
	"agent/supervise.open":        "close waits for the mover",
	"server.newPrompt":            "Close waits for it",
	"server/state.decodeAhead":    "the loader waits for each frame",
}

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

// TestGoroutinesBelongToWhoWaits: outside tests a go statement stands in a function that also receives from a channel or
// waits for a group, or that is listed; others start their work with a group's Go.
func TestGoroutinesBelongToWhoWaits(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || strings.HasPrefix(s.folder, "driver/drivertest") {
			continue
		}
		for _, d := range s.file.Decls {
			var started []token.Pos
			waits := false
			ast.Inspect(d, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					started = append(started, n.Pos())
					return false
				case *ast.UnaryExpr:
					waits = waits || n.Op == token.ARROW
				case *ast.SelectorExpr:
					waits = waits || n.Sel.Name == "Wait"
				}
				return true
			})
			for _, at := range started {
				if _, listed := longGoroutines[s.folder+"."+nameOf(d)]; !waits && !listed {
					t.Errorf("%s: nobody waits for this goroutine", fset.Position(at))
				}
			}
		}
	}
}

// nameOf is the name of a function, "" of any other declaration.
func nameOf(d ast.Decl) string {
	if f, ok := d.(*ast.FuncDecl); ok {
		return f.Name.Name
	}
	return ""
}

func TestWhatIsExportedSaysWhatItIs(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || s.file.Name.Name == "main" {
			continue
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && exportedReceiver(d) && d.Doc == nil {
					t.Errorf("%s: %s has no comment", fset.Position(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if name := undocumented(d, spec); name != "" {
						t.Errorf("%s: %s has no comment", fset.Position(spec.Pos()), name)
					}
				}
			}
		}
	}
}

// exportedReceiver reports whether the function is none of an unexported type's methods. Such methods exist for the
// interfaces that they fulfil, which say what they do.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	switch d.Name.Name {
	case "String", "Error":
		return false // their contract is the language's
	}
	kind := d.Recv.List[0].Type
	if star, ok := kind.(*ast.StarExpr); ok {
		kind = star.X
	}
	name, ok := kind.(*ast.Ident)
	return ok && name.IsExported()
}

// undocumented is the exported name of a declaration without a comment of its own or of its block, "" if there is none.
func undocumented(d *ast.GenDecl, spec ast.Spec) string {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Name.IsExported() && spec.Doc == nil && d.Doc == nil {
			return spec.Name.Name
		}
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			if name.IsExported() && spec.Doc == nil && spec.Comment == nil && d.Doc == nil {
				return name.Name
			}
		}
	}
	return ""
}

func TestFactsInTheLogHaveKnownNames(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || strings.HasPrefix(s.folder, "examples/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			for _, key := range loggedKeys(call) {
				if !slices.Contains(logKeys, key) {
					t.Errorf("%s: the log key %q is not listed", fset.Position(call.Pos()), key)
				}
			}
			return true
		})
	}
}

// loggedKeys are the constant keys of a call of a logger.
func loggedKeys(call *ast.CallExpr) []string {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	first := 1 // the message comes before
	switch sel.Sel.Name {
	case "With":
		first = 0
	case "Debug", "Info", "Warn", "Error":
	default:
		return nil
	}
	var keys []string
	for i := first; i < len(call.Args); i += 2 {
		if text, ok := call.Args[i].(*ast.BasicLit); ok && text.Kind == token.STRING {
			key, _ := strconv.Unquote(text.Value)
			keys = append(keys, key)
		}
	}
	return keys
}

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
				if count := parameters(n); count > mostParameters {
					t.Errorf("%s: %s has %d parameters, over %d", s.path, n.Name.Name, count, mostParameters)
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

// parameters counts what a caller has to say; a context is said everywhere alike.
func parameters(f *ast.FuncDecl) int {
	count := f.Type.Params.NumFields()
	for _, p := range f.Type.Params.List {
		if sel, ok := p.Type.(*ast.SelectorExpr); ok && sel.Sel.Name == "Context" {
			count--
		}
	}
	return count
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
