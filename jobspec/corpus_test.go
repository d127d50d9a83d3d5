package jobspec_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
// NAME.files/, and invalid/NAME.hcl. CLUSTER_CORPUS names it.
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

func parseFile(t *testing.T, path string) (*cluster.Job, error) {
	t.Helper()
	read := func(path string) jobspec.File {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return jobspec.File{Name: filepath.Base(path), Text: text}
	}
	base := strings.TrimSuffix(path, ".hcl")
	c := jobspec.Config{File: read(path), Dirs: []string{base + ".files"}, Random: bytes.NewReader(make([]byte, 1<<16))}
	if _, err := os.Stat(base + ".vars"); err == nil {
		c.VariableFiles = []jobspec.File{read(base + ".vars")}
	}
	result, err := jobspec.Parse(c)
	if err != nil {
		return nil, err
	}
	return result.Job, nil
}

func TestCorpusValid(t *testing.T) {
	files := corpus(t, "valid")
	accepted, equal := 0, 0
	reasons := map[string]int{}
	for _, path := range files {
		name := filepath.Base(path)
		job, err := parseFile(t, path)
		if err != nil {
			list, ok := errors.AsType[jobspec.Diagnostics](err)
			if !ok {
				t.Errorf("%s: %v", name, err)
			}
			for _, d := range list {
				reasons[d.Text]++
				if !strings.Contains(d.Text, "not supported yet") || d.File == "" || d.Line == 0 {
					t.Errorf("%s: refused for no good reason: %s", name, d)
				}
			}
			continue
		}
		accepted++
		want, err := os.ReadFile(strings.TrimSuffix(path, ".hcl") + ".json")
		if err != nil {
			continue
		}
		differences := compareJSON(t, want, job)
		for _, d := range differences {
			t.Errorf("%s: %s", name, d)
		}
		if len(differences) == 0 {
			equal++
		}
	}
	t.Logf("%d of %d accepted, %d with the expected job", accepted, len(files), equal)
	for _, reason := range slices.SortedFunc(maps.Keys(reasons), func(a, b string) int { return reasons[b] - reasons[a] }) {
		t.Logf("%5d %s", reasons[reason], reason)
	}
}

func TestCorpusInvalid(t *testing.T) {
	for _, path := range corpus(t, "invalid") {
		job, err := parseFile(t, path)
		if err == nil {
			t.Errorf("%s: accepted %+v", filepath.Base(path), job)
			continue
		}
		if !strings.Contains(err.Error(), filepath.Base(path)+":") {
			t.Errorf("%s: no file and line: %v", filepath.Base(path), err)
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

func compareJSON(t *testing.T, raw []byte, job *cluster.Job) []string {
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
	return differences(want, have, "")
}

func differences(want, have any, path string) []string {
	if empty(want) && empty(have) {
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
				all = append(all, differences(wantObject[k], haveObject[k], path+"."+k)...)
			}
		}
		return all
	}
	wantList, ok1 := want.([]any)
	haveList, ok2 := have.([]any)
	if ok1 && ok2 && len(wantList) == len(haveList) {
		var all []string
		for i := range wantList {
			all = append(all, differences(wantList[i], haveList[i], fmt.Sprintf("%s[%d]", path, i))...)
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
