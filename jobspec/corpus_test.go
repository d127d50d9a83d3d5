package jobspec_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/jobspec"
)

// The corpus is a folder of job files from elsewhere: valid/NAME.hcl with NAME.json (the job it means), NAME.vars and
// NAME.files/, invalid/NAME.hcl, oddities/ with what surprises, explained in INDEX.tsv, and gaps/ with what the valid ones do
// not use. CLUSTER_CORPUS names it.
func corpus(t *testing.T, kind string) []string {
	t.Helper()
	root := os.Getenv("CLUSTER_CORPUS")
	if root == "" {
		t.Skip("optional: CLUSTER_CORPUS is not set: it names a folder of real job files")
	}
	files, err := filepath.Glob(filepath.Join(root, kind, "*.hcl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no job files in %s: %v", filepath.Join(root, kind), err)
	}
	return files
}

func parseFile(t *testing.T, path string) (*jobspec.Result, error) {
	t.Helper()
	c, err := configOf(path)
	if err != nil {
		t.Fatal(err)
	}
	c.Random = bytes.NewReader(make([]byte, 1<<16))
	return jobspec.Parse(c)
}

// configOf is a job file with what lies beside it.
func configOf(path string) (c jobspec.Config, err error) {
	base := strings.TrimSuffix(path, ".hcl")
	c.Dirs = []string{base + ".files"}
	c.File.Name = filepath.Base(path)
	if c.File.Text, err = os.ReadFile(path); err != nil {
		return c, err
	}
	values, err := os.ReadFile(base + ".vars")
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	c.VariableFiles = []jobspec.File{{Name: filepath.Base(base) + ".vars", Text: values}}
	return c, err
}

func TestCorpusValid(t *testing.T) {
	for _, path := range corpus(t, "valid") {
		result, err := parseFile(t, path)
		if err != nil {
			t.Errorf("%s: refused: %v", filepath.Base(path), err)
			continue
		}
		located(t, path, result)
		want, err := os.ReadFile(strings.TrimSuffix(path, ".hcl") + ".json")
		source, _ := os.ReadFile(path)
		if err != nil || bytes.Contains(source, []byte("uuidv4")) {
			continue
		}
		for _, d := range compareJSON(t, want, result.Job, true) {
			t.Errorf("%s: %s", filepath.Base(path), d)
		}
	}
}

// located holds that all that is said about a file names it and a line.
func located(t *testing.T, path string, result *jobspec.Result) {
	t.Helper()
	for _, d := range append(result.Refused, result.Warnings...) {
		if d.File != filepath.Base(path) || d.Line == 0 {
			t.Errorf("%s: no place: %s", filepath.Base(path), d)
		}
	}
}

func TestCorpusInvalid(t *testing.T) {
	for _, path := range corpus(t, "invalid") {
		result, err := parseFile(t, path)
		if err == nil {
			t.Errorf("%s: accepted %+v", filepath.Base(path), result.Job)
			continue
		}
		if !strings.Contains(err.Error(), filepath.Base(path)+":") {
			t.Errorf("%s: no file and line: %v", filepath.Base(path), err)
		}
	}
}

// TestCorpusOddities accepts and refuses what the index says; what is accepted has a warning, and all that is expected of it.
func TestCorpusOddities(t *testing.T) {
	verdicts := map[string]bool{}
	index, err := os.ReadFile(filepath.Join(filepath.Dir(corpus(t, "oddities")[0]), "INDEX.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(index)) {
		if columns := strings.Split(line, "\t"); len(columns) > 2 {
			verdicts[columns[0]] = columns[1] == "ok" && columns[2] == "ok"
		}
	}
	for _, path := range corpus(t, "oddities") {
		name := filepath.Base(path)
		result, err := parseFile(t, path)
		if accepted, known := verdicts[name]; !known || accepted != (err == nil) {
			t.Errorf("%s: want accepted: %t; %v", name, accepted, err)
		}
		if err != nil {
			continue
		}
		located(t, path, result)
		if len(result.Warnings) == 0 {
			t.Errorf("%s: no warning", name)
		}
		if want, err := os.ReadFile(strings.TrimSuffix(path, ".hcl") + ".json"); err == nil {
			for _, d := range compareJSON(t, want, result.Job, false) {
				t.Errorf("%s: %s", name, d)
			}
		}
	}
}

func TestCorpusGaps(t *testing.T) {
	for _, path := range corpus(t, "gaps") {
		result, err := parseFile(t, path)
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(path), err)
			continue
		}
		located(t, path, result)
		want, err := os.ReadFile(strings.TrimSuffix(path, ".hcl") + ".json")
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range compareJSON(t, want, result.Job, false) {
			t.Errorf("%s: %s", filepath.Base(path), d)
		}
	}
}

// setElsewhere are fields that a server sets, or that this cluster answers in its own way.
var setElsewhere = map[string]bool{
	"Provider": true, "CreateIndex": true, "ModifyIndex": true, "JobModifyIndex": true, "SubmitTime": true, "Status": true,
	"StatusDescription": true, "Stable": true, "Version": true, "VersionTag": true, "ConsulToken": true, "VaultToken": true,
	"VaultNamespace": true, "ConsulNamespace": true, "NomadTokenID": true, "ParentID": true, "Dispatched": true,
	"DispatchIdempotencyToken": true, "Payload": true, "Region": true, "UI": true,
}

// compareJSON lists what of a job is not as wanted. More than is wanted counts if the job is wanted whole.
func compareJSON(t *testing.T, raw []byte, job *cluster.Job, whole bool) []string {
	t.Helper()
	stored, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	var want, have map[string]any
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(stored, &have); err != nil {
		t.Fatal(err)
	}
	if inner, ok := want["Job"].(map[string]any); ok {
		want = inner
	}
	return differences(want, have, "", whole)
}

func differences(want, have any, path string, whole bool) []string {
	if empty(want) && (!whole || empty(have)) {
		return nil
	}
	wantObject, ok1 := want.(map[string]any)
	haveObject, ok2 := have.(map[string]any)
	if ok1 && ok2 {
		keys := map[string]bool{}
		for k := range wantObject {
			keys[k] = true
		}
		for k := range haveObject {
			keys[k] = true
		}
		var all []string
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			if !setElsewhere[k] {
				all = append(all, differences(wantObject[k], haveObject[k], path+"."+k, whole)...)
			}
		}
		return all
	}
	wantList, ok1 := want.([]any)
	haveList, ok2 := have.([]any)
	if ok1 && ok2 && len(wantList) == len(haveList) {
		var all []string
		for i := range wantList {
			all = append(all, differences(wantList[i], haveList[i], fmt.Sprintf("%s[%d]", path, i), whole)...)
		}
		return all
	}
	if !reflect.DeepEqual(want, have) {
		return []string{fmt.Sprintf("%s: want %.80v, have %.80v", path, want, have)}
	}
	return nil
}

func empty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case float64:
		return v == 0
	case bool:
		return !v
	case []any:
		return !slices.ContainsFunc(v, func(item any) bool { return item != nil })
	case map[string]any:
		for _, item := range v {
			if !empty(item) {
				return false
			}
		}
		return true
	}
	return false
}

// BenchmarkCorpus parses and checks real job files: all of them in turn, and the longest.
func BenchmarkCorpus(b *testing.B) {
	root := os.Getenv("CLUSTER_CORPUS")
	if root == "" {
		b.Skip("optional: CLUSTER_CORPUS is not set: it names a folder of real job files")
	}
	paths, err := filepath.Glob(filepath.Join(root, "valid", "*.hcl"))
	if err != nil || len(paths) == 0 {
		b.Fatalf("no job files in %s: %v", root, err)
	}
	all := make([]jobspec.Config, len(paths))
	longest := 0
	for i, path := range paths {
		if all[i], err = configOf(path); err != nil {
			b.Fatal(err)
		}
		if len(all[i].File.Text) > len(all[longest].File.Text) {
			longest = i
		}
	}
	parse := func(c jobspec.Config) {
		c.Random = rand.Reader
		if _, err := jobspec.Parse(c); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("all", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			parse(all[i%len(all)])
		}
	})
	b.Run("longest", func(b *testing.B) {
		b.SetBytes(int64(len(all[longest].File.Text)))
		for b.Loop() {
			parse(all[longest])
		}
	})
}
