package jobspec_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/jobspec"
)

// fuzzed parses a job file twice, as a server would: the results are the same, take little time, and say where what is wrong.
func fuzzed(t *testing.T, c jobspec.Config) (*jobspec.Result, error) {
	t.Helper()
	before := time.Now()
	result, err := jobspec.Parse(c)
	if took := time.Since(before); took > 10*time.Second { // on any machine, under the fuzzer's instruments
		t.Errorf("it took %s", took)
	}
	again, repeated := jobspec.Parse(c)
	if fmt.Sprint(err) != fmt.Sprint(repeated) {
		t.Fatalf("at first %v\nthen %v", err, repeated)
	}
	if err != nil {
		if cluster.CodeOf(err) != cluster.CodeInvalid && cluster.CodeOf(err) != cluster.CodeTooLarge {
			t.Errorf("code %q: %v", cluster.CodeOf(err), err)
		}
		file, rest, _ := strings.Cut(err.Error(), ":")
		var line int
		if n, _ := fmt.Sscanf(rest, "%d", &line); cluster.CodeOf(err) == cluster.CodeInvalid && (file == "" || n != 1 || line < 1) {
			t.Errorf("no file and line: %v", err)
		}
		if len(err.Error()) > 200_000 {
			t.Errorf("the error is %d bytes long", len(err.Error()))
		}
		return nil, err
	}
	if problems := result.Job.Validate(); problems != nil {
		t.Errorf("the job is not valid: %v", problems)
	}
	first, err := json.Marshal(result.Job)
	if err != nil {
		t.Fatalf("the job is no JSON: %v", err)
	}
	if second, _ := json.Marshal(again.Job); string(first) != string(second) {
		t.Errorf("at first %s\nthen %s", first, second)
	}
	return result, nil
}

// small is a job with one value and declarations before it.
func small(declarations, value string) jobspec.File {
	return jobspec.File{Name: "job.hcl", Text: []byte(declarations + "job \"a\" {\n  meta = { x = " + value +
		" }\n  group \"g\" {\n    task \"t\" {\n      driver = \"raw_exec\"\n      config {\n        command = \"x\"\n      }\n    }\n  }\n}\n")}
}

// variableTypes are types for a variable; the last declares none.
var variableTypes = []string{"string", "number", "bool", "list(string)", "map(number)", "set(bool)", "any", "object({ a = string, b = list(number) })",
	"tuple([string, number])", "list(object({ a = map(string) }))", ""}

// FuzzVariables gives a variable of any type a value from a file, in either syntax, and from a command line.
func FuzzVariables(f *testing.F) {
	for i := range variableTypes {
		f.Add(uint8(i), []byte(`x = "a"`), `["a", 1]`)
		f.Add(uint8(i)+132, []byte(`{"x": "${upper("a")}", "y": 2}`), `1`) // with what is not declared
		f.Add(uint8(i), []byte(`{"x": {"a": "${1}", "b": [1, 2]}}`), `{ a = "b", b = [] }`)
		f.Add(uint8(i), []byte("x = [for a in range(3) : { a = { b = \"${a}\" } }]\ny = 1"), `true`)
	}
	f.Add(uint8(0), []byte("0"), "\xe3\u030c0")
	f.Add(uint8(3), []byte("variable \"x\" {}\n"), "<<E\na\nE\n")
	f.Fuzz(func(t *testing.T, kind uint8, file []byte, value string) {
		declaration := "variable \"x\" {\n"
		if text := variableTypes[int(kind)%len(variableTypes)]; text != "" {
			declaration += "  type = " + text + "\n"
		}
		declaration += "  validation {\n    condition = jsonencode(var.x) != \"1\"\n    error_message = \"it is one\"\n  }\n}\n"
		c := jobspec.Config{File: small(declaration, "jsonencode(var.x)"), VariableFiles: []jobspec.File{{Name: "f.vars", Text: file}}, Lenient: kind >= 128}
		fromFile, err := fuzzed(t, c)
		if err == nil && !json.Valid([]byte(fromFile.Job.Meta["x"])) {
			t.Errorf("the value is %q", fromFile.Job.Meta["x"])
		}
		if c.Lenient && err == nil {
			joined := c
			joined.VariableFiles = []jobspec.File{{Name: "joined.vars", Text: []byte(jobspec.Values([]jobspec.File{{Name: "g.vars", Text: []byte("z = 1\n")}, c.VariableFiles[0]}))}}
			if result, err := jobspec.Parse(joined); err != nil || result.Job.Meta["x"] != fromFile.Job.Meta["x"] {
				t.Errorf("%q, written as one file %q: %v", file, joined.VariableFiles[0].Text, err)
			}
		}
		_, _ = jobspec.Declared(c.VariableFiles[0]), jobspec.Assigned(c.VariableFiles[0])
		c.VariableFiles, c.Variables = nil, map[string]string{"x": value}
		fromLine, err := fuzzed(t, c)
		if err == nil && int(kind)%len(variableTypes) == 0 {
			var have string
			if err := json.Unmarshal([]byte(fromLine.Job.Meta["x"]), &have); err != nil || have != normal(t, value) {
				t.Errorf("the text %q becomes %q, %v", value, have, err)
			}
		}
	})
}

// normal is a text as the job language has it: Unicode's form NFC, which the function gives back.
func normal(t *testing.T, text string) string {
	t.Helper()
	result, err := jobspec.Parse(jobspec.Config{File: small("variable \"x\" {}\n", "var.x"), Variables: map[string]string{"x": text}})
	if err != nil {
		t.Fatal(err)
	}
	return result.Job.Meta["x"]
}

// FuzzDecoders gives texts to the functions that read other formats.
func FuzzDecoders(f *testing.F) {
	for _, text := range []string{"a: &x [1, y]\nb: *x\n", "- - a\n  - ? b\n    : c\n", "a: |\n  b\n---\nc: !!str 1\n", `{"a": [1, null, true, {"b": "c"}]}`, "a,b\n1,\"2\"\n", "<<: {a: 1}\n",
		"a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\n", "!!binary aGk=", "2001-12-14t21:59:43.10-05:00", "[[[[{a: b}]]]]", "1e400", "\"\\u0000\""} {
		for kind := range uint8(3) {
			f.Add(kind, text)
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, text string) {
		decode := []string{"yamldecode", "jsondecode", "csvdecode"}[int(kind)%3]
		c := jobspec.Config{File: small("variable \"x\" {\n  type = string\n}\n", "jsonencode("+decode+"(var.x))"), Variables: map[string]string{"x": text}}
		result, err := fuzzed(t, c)
		if err == nil && !json.Valid([]byte(result.Job.Meta["x"])) {
			t.Errorf("%s of %q is %q", decode, text, result.Job.Meta["x"])
		}
	})
}

// FuzzJSONSyntax reads job files in the JSON syntax alone: FuzzParse leaves it after one byte.
func FuzzJSONSyntax(f *testing.F) {
	files, err := filepath.Glob("testdata/json*.hcl")
	if err != nil || len(files) == 0 {
		f.Fatalf("no files: %v", err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"variable": {"x": {"type": "list(string)", "default": ["a"]}}, "locals": {"y": "${var.x[0]}"}, "job": {"a": {"meta": {"z": "${local.y}"}, "dynamic": {"group": {"for_each": [1], "labels": ["g${group.value}"], "content": {}}}}}}`))
	f.Add([]byte(`{"Job": {"ID": "a", "TaskGroups": [{"Name": "g", "Tasks": [{"Name": "t", "Driver": "raw_exec"}]}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) == 0 || text[0] != '{' {
			text = append([]byte("{"), text...)
		}
		fuzzed(t, jobspec.Config{File: jobspec.File{Name: "job.hcl", Text: text}})
	})
}
