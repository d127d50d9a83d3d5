package jobspec_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/jobspec"
)

var rewrite = flag.Bool("rewrite", false, "write what the job files give as what they must give")

// scenario reads a job file of testdata. Comments at its head are settings: "# -var NAME=VALUE", "# -env NAME=VALUE",
// "# -server" (no files, no random bits). NAME.vars is its variable file.
func scenario(t *testing.T, path string) jobspec.Config {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := jobspec.Config{
		File:      jobspec.File{Name: filepath.Base(path), Text: text},
		Variables: map[string]string{},
		Dirs:      []string{"nowhere", "testdata"},
		Random:    strings.NewReader("sixteen bytes..."),
	}
	for line := range strings.Lines(string(text)) {
		flag, isFlag := strings.CutPrefix(strings.TrimSpace(line), "# -")
		if !isFlag {
			break
		}
		kind, setting, _ := strings.Cut(flag, " ")
		switch kind {
		case "var":
			name, value, _ := strings.Cut(setting, "=")
			c.Variables[name] = value
		case "env":
			c.Environ = append(c.Environ, setting)
		case "lenient":
			c.Lenient = true
		case "server":
			c.Dirs, c.Random = nil, nil
		default:
			t.Fatalf("%s: unknown setting %q", path, line)
		}
	}
	vars := strings.TrimSuffix(path, ".hcl") + ".vars"
	if text, err := os.ReadFile(vars); err == nil {
		c.VariableFiles = []jobspec.File{{Name: filepath.Base(vars), Text: text}}
	}
	return c
}

// TestFiles parses every job file of testdata. NAME.json is the job it must give and NAME.warn what is said about it, or
// NAME.err the error.
func TestFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no job files: %v", err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			base := strings.TrimSuffix(path, ".hcl")
			result, err := jobspec.Parse(scenario(t, path))
			have := map[string][]byte{base + ".json": nil, base + ".err": nil, base + ".warn": nil}
			if err != nil {
				if cluster.CodeOf(err) != cluster.CodeInvalid {
					t.Errorf("code %q", cluster.CodeOf(err))
				}
				have[base+".err"] = []byte(err.Error() + "\n")
			} else {
				have[base+".json"] = said(t, result.Job)
				if len(result.Refused) > 0 {
					have[base+".warn"] = []byte("refused:\n" + result.Refused.Error() + "\n")
				}
				if len(result.Warnings) > 0 {
					have[base+".warn"] = fmt.Append(have[base+".warn"], "warnings:\n", result.Warnings.Error(), "\n")
				}
			}
			for name, text := range have {
				compare(t, name, text)
			}
		})
	}
}

// compare holds a result against its file; an empty result must have none.
func compare(t *testing.T, name string, have []byte) {
	t.Helper()
	if *rewrite {
		err := os.Remove(name)
		if have != nil {
			err = os.WriteFile(name, have, 0o644)
		}
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if !bytes.Equal(want, have) {
		t.Errorf("%s: want\n%s\nhave\n%s", name, want, have)
	}
}

// said is what a job says beyond emptiness, for people to read.
func said(t *testing.T, job *cluster.Job) []byte {
	t.Helper()
	raw, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	writer := json.NewEncoder(&text)
	writer.SetEscapeHTML(false)
	writer.SetIndent("", "  ")
	if err := writer.Encode(prune(tree)); err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

func prune(tree any) any {
	switch v := tree.(type) {
	case map[string]any:
		for key, value := range v {
			if empty(value) {
				delete(v, key)
			} else {
				v[key] = prune(value)
			}
		}
	case []any:
		for i := range v {
			v[i] = prune(v[i])
		}
	}
	return tree
}

// A job from a file, sent to a server, is the same job: what the file leaves to the server aside.
func TestServerReadsTheSameJob(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no jobs: %v", err)
	}
	for _, path := range files {
		result, err := jobspec.Parse(scenario(t, strings.TrimSuffix(path, ".json")+".hcl"))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		job := result.Job
		raw, err := json.Marshal(job)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := cluster.DecodeJob(raw)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if len(stored.Datacenters) == 0 || stored.NodePool == "" {
			t.Errorf("%s: datacenters %v and node pool %q after admission", path, stored.Datacenters, stored.NodePool)
		}
		stored.Datacenters, stored.NodePool = job.Datacenters, job.NodePool
		for g := range job.TaskGroups {
			if job.TaskGroups[g].StopAfterClientDisconnect > 0 {
				stored.TaskGroups[g].Disconnect = nil
			}
			for i, service := range job.TaskGroups[g].AllServices() {
				if have := stored.TaskGroups[g].AllServices()[i]; strings.Contains(service.Name, "${TASK") {
					if strings.Contains(have.Name, "${TASK") {
						t.Errorf("%s: the service is still called %s after admission", path, have.Name)
					}
					have.Name = service.Name
				}
			}
		}
		if again := said(t, stored); !bytes.Equal(again, said(t, job)) {
			t.Errorf("%s: the server reads\n%s", path, again)
		}
	}
}

func TestTooLarge(t *testing.T) {
	long := jobspec.File{Name: "long.hcl", Text: bytes.Repeat([]byte("#"), cluster.MaxJobSize+1)}
	for _, c := range []jobspec.Config{
		{File: long},
		{File: jobspec.File{Name: "job.hcl", Text: []byte(`job "a" {}`)}, VariableFiles: []jobspec.File{long}},
	} {
		_, err := jobspec.Parse(c)
		if err == nil || cluster.CodeOf(err) != cluster.CodeTooLarge || !strings.Contains(err.Error(), "long.hcl") {
			t.Errorf("have %v", err)
		}
	}
}

// TestUnreadValues checks that variables are not called missing whose file of values cannot be read.
func TestUnreadValues(t *testing.T) {
	for _, values := range []string{"x = [\n", "variable \"x\" {\n}\n", "x {\n}\n"} {
		_, err := jobspec.Parse(jobspec.Config{
			File:          jobspec.File{Name: "job.hcl", Text: []byte("variable \"x\" {\n}\njob \"a\" {\n}\n")},
			VariableFiles: []jobspec.File{{Name: "values.hcl", Text: []byte(values)}},
		})
		if err == nil || !strings.Contains(err.Error(), "values.hcl:") || strings.Contains(err.Error(), "Unset") {
			t.Errorf("%q: have %v", values, err)
		}
	}
}

// Bombs are small files that ask for a lot. They must fail at once, in words, with little memory.
func TestBombs(t *testing.T) {
	const doubled = `"${local.x}${local.x}${local.x}${local.x}${local.x}${local.x}${local.x}${local.x}"`
	doubling := "locals {\n  a = \"0123456789abcdef\"\n"
	nesting := "locals {\n  a = [1]\n"
	for c := 'b'; c < 'r'; c++ {
		doubling += "  " + string(c) + " = " + strings.ReplaceAll(doubled, "x", string(c-1)) + "\n"
		nesting += "  " + string(c) + " = [local." + string(c-1) + ", local." + string(c-1) + ", local." + string(c-1) + ", local." + string(c-1) + "]\n"
	}
	const tooMany = "make more than 8 MB of values"
	big := "locals {\n  big = split(\",\", \"" + strings.Repeat("a,", 60_000) + "\")\n}\n"
	meta := func(expression string) string { return "job \"a\" {\n  meta {\n    x = " + expression + "\n  }\n}\n" }
	for _, c := range []struct{ name, text, want string }{
		{"strings that double", doubling + "}\njob \"a\" {}", "Expression too large"},
		{"lists that share", nesting + "}\njob \"a\" {}", "Expression too large"},
		{"nested for", meta(`length([for a in range(1000) : [for b in range(1000) : [for c in range(1000) : c]]])`), "Expression too large"},
		{"for of text", meta(`"%{for a in range(1000)}%{for b in range(1000)}%{for c in range(1000)}x%{endfor}%{endfor}%{endfor}"`), "more than 8 MB"},
		{"product", meta(`length(setproduct(range(1000), range(1000), range(1000)))`), "more than 8 MB"},
		{"join", meta(`join(join("", [for a in range(1000) : "0123456789"]), [for a in range(1000) : "0123456789012345678901234567890"])`), "more than 8 MB"},
		{"replace", meta(`replace(join("", [for a in range(1000) : "0123456789"]), "", join("", [for a in range(1000) : "01234567890123456789"]))`), "more than 8 MB"},
		{"format", meta(`format("%1000000000d", 1)`), "more than 8 MB"},
		{"indent", meta(`indent(1000000000, "a\nb")`), "more than 8 MB"},
		{"range", meta(`length(range(1000000000))`), "more than 1024 values"},
		{"large number", meta(`1e600000000`), "Number out of range"},
		{"squares", "locals {\n  a = 1e300 * 1e300\n  b = local.a * local.a\n}\njob \"a\" {}", "between -1e308 and 1e308"},
		{"dynamic", "job \"a\" {\n  group \"g\" {\n    dynamic \"service\" {\n      for_each = range(1000)\n      content {\n        dynamic \"check\" {\n          for_each = range(1000)\n          content {\n          }\n        }\n      }\n    }\n  }\n}\n", "may make 10000 blocks"},
		{"brackets", meta(strings.Repeat("[", 20_000)), "nested 100 deep"},
		{"blocks", strings.Repeat("a {\n", 20_000), "nested 100 deep"},
		{"templates", meta(strings.Repeat(`"${`, 20_000)), "nested 100 deep"},
		{"objects", strings.Repeat(`{"job":`, 20_000), "nested 100 deep"},
		{"sum", meta("1" + strings.Repeat("+1", 20_000)), "5000 operators"},
		{"negation", meta(strings.Repeat("!", 20_000) + "true"), "5000 operators"},
		{"conditions", meta(strings.Repeat("true ? 1 : ", 20_000) + "2"), "5000 operators"},
		{"indexes", meta("x" + strings.Repeat("[x]", 20_000)), "5000 operators"},
		{"splats", meta("x" + strings.Repeat(".*.y", 20_000)), "5000 operators"},
		{"directives", meta(`"` + strings.Repeat("%{if true}", 20_000) + `"`), "5000 operators"},
		{"template in JSON", `{"job": {"a": {"meta": {"x": "` + strings.Repeat("${[", 4_000) + `"}}}}`, "nested 100 deep"},
		{"type", "variable \"x\" {\n  type = " + strings.Repeat("list(", 20_000) + "\n}\n", "nested 100 deep"},
		{"type in JSON", `{"variable": {"x": {"type": "` + strings.Repeat("list(", 150_000) + `"}}, "job": {"a": {}}}`, "nested 100 deep"},
		{"iterator in JSON", `{"job": {"a": {"dynamic": {"group": {"for_each": [1], "iterator": "` + strings.Repeat("a[", 9_000) + `", "content": {}}}}}}`, "Invalid iterator"},
		{"each compared with each", big + meta(`length(distinct([for i, x in local.big : i]))`), tooMany},
		{"list of very many types", meta(`length(concat([` + strings.Repeat("1,", 60_000) + `]))`), tooMany},
		{"splats of splats", big + meta(`length(local.big`+strings.Repeat("[*]", 2400)+`)`), tooMany},
		{"large choices", big + meta(`[`+strings.Repeat("true ? local.big : local.big,", 4000)+`]`), tooMany},
		{"large conversions", big + meta(`[`+strings.Repeat("convert(local.big, list(string)),", 4000)+`]`), tooMany},
		{"large expressions of texts", meta(`regex_replace("` + strings.Repeat("a", 90_000) + `", "` + strings.Repeat("[ab]{999}x|[ac]{999}x|", 30) + `", "")`), tooMany},
		{"JSON in a text", meta(`jsondecode("` + strings.Repeat("[", 900_000) + `")`), "nested 100 deep"},
		{"YAML in a text", meta(`yamldecode("` + strings.Repeat("[", 900_000) + `")`), "10000 opening brackets"},
		{"YAML of dashes", meta(`yamldecode("` + strings.Repeat("- ", 450_000) + `")`), "nested 100 deep"},
		{"YAML of keys", meta(`yamldecode("` + strings.Repeat("? ", 450_000) + `")`), "nested 100 deep"},
		{"lists in lists of other values", "locals {\n  a = " + strings.Repeat("[", 60) + strings.Repeat("]", 60) + "\n  b = " + strings.Repeat("[", 60) + "local.a" + strings.Repeat("]", 60) + "\n}\njob \"a\" {}\n", "nested 100 deep"},
		{"dynamic blocks of a large range", "job \"a\" {\n  dynamic \"group\" {\n    for_each = range(1e9)\n    labels = [\"g\"]\n    content {\n    }\n  }\n}\n", "more than 1024 values"},
		{"blocks side by side", "job \"a\" {\n" + strings.Repeat("group \"g\" {\n}\n", 60_000) + "}\n", "10000 blocks"},
		{"names of blocks", "job \"a\" {\n  " + strings.Repeat("x", 900_000) + " {\n  }\n}\n", "Unsupported block type"},
		{"names of values", meta("var." + strings.Repeat("x", 900_000)), "Unsupported attribute"},
		{"brackets after closing ones", "x " + strings.Repeat("]", 400_000) + "\na = " + strings.Repeat("[", 400_000), "nested 100 deep"},
		{"blocks whose ends are missed", strings.Repeat("b{\nx}\n", 170_000), "10000 blocks"},
		{"indexes and attributes", meta("x" + strings.Repeat("[x].y", 200_000)), "5000 operators"},
		{"objects behind a text that does not end", `{"a": "` + "\n" + `, "b": ` + strings.Repeat("[", 900_000), "10000 opening brackets"},
		{"objects behind a text that ends elsewhere", `{"a": "` + "\u0600" + `" x", "b": ` + strings.Repeat("[", 900_000), "10000 opening brackets"},
		{"label", `job "` + strings.Repeat("x", 1_000_000) + `" {}`, "is 1000000 bytes long, the limit is 128"},
		{"zeros", strings.Repeat("\x00", 1000), "Not a text file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := time.Now()
			_, err := jobspec.Parse(jobspec.Config{File: jobspec.File{Name: "bomb.hcl", Text: []byte(c.text)}, Dirs: []string{"."}})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want %q, have %.1000v", c.want, err)
			} else if len(err.Error()) > 50_000 {
				t.Errorf("the error is %d bytes long", len(err.Error()))
			}
			if took := time.Since(before); took > 20*time.Second { // a slow machine takes some
				t.Errorf("it took %s", took)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.hcl")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		result, err := jobspec.Parse(jobspec.Config{File: jobspec.File{Name: "fuzz.hcl", Text: text}})
		if err != nil && cluster.CodeOf(err) == cluster.CodeInternal {
			t.Errorf("no code: %v", err)
		}
		if err == nil && result.Job.Validate() != nil {
			t.Errorf("the job is not valid: %v", result.Job.Validate())
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text, err := os.ReadFile("testdata/service.hcl")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := jobspec.Parse(jobspec.Config{File: jobspec.File{Name: "service.hcl", Text: text}}); err != nil {
			b.Fatal(err)
		}
	}
}

// The values that several files give are kept as one text, which gives the same ones.
func TestValues(t *testing.T) {
	first := jobspec.File{"first", []byte("# of all\na = 1\nb = [\n  1, # one\n  2]\nc = <<EOT\nx\nEOT\nd = \"$${x}\"\n")}
	second := jobspec.File{"second", []byte(`{"b": {"x": ["y", true, 1.5]}, "e": "say \"hi\" and ${1 + 1}"}`)}
	third := jobspec.File{"third", []byte("e = null\na = 2")}
	for _, c := range []struct {
		files []jobspec.File
		want  string
	}{
		{[]jobspec.File{first}, string(first.Text)},
		{[]jobspec.File{second}, string(second.Text) + "\n"},
		{[]jobspec.File{first, second}, "a = 1\nc = <<EOT\nx\nEOT\nd = \"$${x}\"\nb = {\n  x = [\"y\", true, 1.5]\n}\ne = \"say \\\"hi\\\" and 2\"\n"},
		{[]jobspec.File{second, first, third}, "b = [\n  1, # one\n  2]\nc = <<EOT\nx\nEOT\nd = \"$${x}\"\ne = null\na = 2\n"},
	} {
		have := jobspec.Values(c.files)
		if have != c.want {
			t.Errorf("have\n%s\nwant\n%s", have, c.want)
		}
		if again := jobspec.Values([]jobspec.File{{"all", []byte(have)}, {"none", nil}}); len(c.files) > 1 && again != have {
			t.Errorf("read again it is\n%s", again)
		}
	}
}

// What the environment has for a variable is often a secret: an error says what is wrong with it, and not what it is.
func TestValuesOfTheEnvironmentAreNotShown(t *testing.T) {
	for declaration, value := range map[string]string{
		"type = number":                      "hunter2",
		"type = list(string)\ndefault = [] ": `["hunter2]`,
		"type = map(string)":                 "{a = hunter2}",
		"type = object({a = string})":        `{b = "hunter2"}`,
	} {
		for _, prefix := range []string{"CLUSTER_VAR_", "NOMAD_VAR_"} {
			_, err := jobspec.Parse(jobspec.Config{
				File:    jobspec.File{Name: "f", Text: []byte("variable \"a\" {\n" + declaration + "\n}\njob \"x\" {}\n")},
				Environ: []string{prefix + "a=" + value},
			})
			if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "value of the environment variable "+prefix+"a") || strings.Contains(err.Error(), "Unset") {
				t.Errorf("%s: %v", declaration, err)
			}
		}
	}
}

// Nor does what a function or the job's rules say of it, whole or cut short.
func TestValuesOfTheEnvironmentAreNotShownByWhatUsesThem(t *testing.T) {
	long := "hunter2hunter2" + strings.Repeat("x", 3000)
	for body, value := range map[string]string{
		`count = parseint(var.a, 10)`:                      "hunter2hunter2",
		`count = var.a`:                                    "hunter2hunter2",
		`count = tonumber("${var.a}")`:                     "hunter2hunter2",
		`shutdown_delay = var.a`:                           "hunter2hunter2",
		`count = length(jsondecode(var.a))`:                "hunter2\"hunter2",
		`count = timeadd(var.a, "1h")`:                     long,
		`constraint { operator = var.a }`:                  long,
		`count = parseint(jsondecode(var.a).token[0], 10)`: `{"token": ["hunter2hunter2"]}`,
		`count = parseint(regex("h.*", var.a), 10)`:        "hunter2hunter2\n",
	} {
		_, err := jobspec.Parse(jobspec.Config{
			File:    jobspec.File{Name: "f", Text: []byte("variable \"a\" {}\njob \"x\" {\n group \"g\" {\n" + body + "\ntask \"t\" {\ndriver = \"docker\"\n}\n}\n}\n")},
			Environ: []string{"CLUSTER_VAR_a=" + value},
		})
		if err == nil || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: %v", body, err)
		}
	}
	_, err := jobspec.Parse(jobspec.Config{
		File:    jobspec.File{Name: "f", Text: []byte("variable \"a\" {\ntype = map(string)\n}\njob \"x\" {\npriority = parseint(var.a.b, 10)\n}\n")},
		Environ: []string{`CLUSTER_VAR_a={b = "hunter2hunter2"}`},
	})
	if err == nil || strings.Contains(err.Error(), "hunter") || !strings.Contains(err.Error(), "(the environment variable CLUSTER_VAR_a)") {
		t.Errorf("of a map: %v", err)
	}
}
