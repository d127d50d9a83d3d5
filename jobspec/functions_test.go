package jobspec_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/a43e60e4/cluster/jobspec"
)

// evaluated is the value of an expression as JSON, or the error that it ends in.
func evaluated(t *testing.T, expression, dir string) string {
	t.Helper()
	text := "job \"a\" {\n  meta = { x = jsonencode(" + expression + ") }\n  group \"g\" {\n    task \"t\" {\n      driver = \"x\"\n    }\n  }\n}\n"
	c := jobspec.Config{File: jobspec.File{Name: "f.hcl", Text: []byte(text)}, Random: rand.Reader}
	if dir != "" {
		c.Dirs = []string{dir}
	}
	result, err := jobspec.Parse(c)
	if err != nil {
		return err.Error()
	}
	return result.Job.Meta["x"]
}

// The functions of the language, each with a call or two.
var functionCalls = map[string][][2]string{
	"abs":      {{`abs(-3.5)`, `3.5`}},
	"ceil":     {{`ceil(1.2)`, `2`}},
	"floor":    {{`floor(-1.2)`, `-2`}},
	"log":      {{`log(8, 2)`, `3`}},
	"max":      {{`max(1, 7, 3)`, `7`}},
	"min":      {{`min(4, 2)`, `2`}},
	"parseint": {{`parseint("ff", 16)`, `255`}, {`parseint("x", 10)`, "cannot parse"}},
	"pow":      {{`pow(2, 10)`, `1024`}},
	"signum":   {{`signum(-9)`, `-1`}},

	"chomp":         {{`chomp("a\n")`, `"a"`}},
	"format":        {{`format("%s-%03d", "a", 7)`, `"a-007"`}},
	"formatlist":    {{`formatlist("%s!", ["a", "b"])`, `["a!","b!"]`}},
	"indent":        {{`indent(2, "a\nb")`, `"a\n  b"`}},
	"join":          {{`join("-", ["a", "b"])`, `"a-b"`}},
	"lower":         {{`lower("AbÜ")`, `"abü"`}},
	"regex_replace": {{`regex_replace("a1b22", "[0-9]+", "#")`, `"a#b#"`}},
	"replace":       {{`replace("a.b.c", ".", "-")`, `"a-b-c"`}},
	"split":         {{`split(",", "a,b")`, `["a","b"]`}},
	"strlen":        {{`strlen("añb")`, `3`}},
	"strrev":        {{`strrev("añb")`, `"bña"`}},
	"substr":        {{`substr("hello", 1, 3)`, `"ell"`}},
	"title":         {{`title("a cat")`, `"A Cat"`}},
	"trim":          {{`trim("?!a!", "!?")`, `"a"`}},
	"trimprefix":    {{`trimprefix("v1.2", "v")`, `"1.2"`}},
	"trimspace":     {{`trimspace(" a \n")`, `"a"`}},
	"trimsuffix":    {{`trimsuffix("a.hcl", ".hcl")`, `"a"`}},
	"upper":         {{`upper("ab")`, `"AB"`}},

	"chunklist":       {{`chunklist([1, 2, 3], 2)`, `[[1,2],[3]]`}},
	"coalesce":        {{`coalesce(null, "a")`, `"a"`}},
	"coalescelist":    {{`coalescelist([], ["a"])`, `["a"]`}},
	"compact":         {{`compact(["", "a"])`, `["a"]`}},
	"concat":          {{`concat(["a"], ["b"])`, `["a","b"]`}},
	"contains":        {{`contains(["a"], "b")`, `false`}},
	"distinct":        {{`distinct(["a", "a"])`, `["a"]`}},
	"element":         {{`element(["a", "b"], 3)`, `"b"`}},
	"flatten":         {{`flatten([["a"], ["b", ["c"]]])`, `["a","b","c"]`}},
	"index":           {{`index(["a", "b"], 1)`, `"b"`}},
	"keys":            {{`keys({ b = 1, a = 2 })`, `["a","b"]`}},
	"length":          {{`length(["a", "b"])`, `2`}},
	"lookup":          {{`lookup({ a = "x" }, "b", "y")`, `"y"`}},
	"merge":           {{`merge({ a = 1 }, { a = 2, b = 3 })`, `{"a":2,"b":3}`}},
	"range":           {{`range(3)`, `[0,1,2]`}},
	"reverse":         {{`reverse("abc")`, `"cba"`}, {`reverse(["a", "b"])`, "string required"}},
	"setintersection": {{`setintersection(["a", "b"], ["b", "c"])`, `["b"]`}},
	"setproduct":      {{`setproduct(["a"], ["b", "c"])`, `[["a","b"],["a","c"]]`}},
	"setunion":        {{`setunion(["b"], ["a"])`, `["a","b"]`}},
	"slice":           {{`slice(["a", "b", "c"], 1, 3)`, `["b","c"]`}},
	"sort":            {{`sort(["b", "a"])`, `["a","b"]`}},
	"values":          {{`values({ b = 1, a = 2 })`, `[2,1]`}},
	"zipmap":          {{`zipmap(["a"], [1])`, `{"a":1}`}},

	"base64decode": {{`base64decode("aGk=")`, `"hi"`}},
	"base64encode": {{`base64encode("hi")`, `"aGk="`}},
	"csvdecode":    {{`csvdecode("a,b\n1,2\n")`, `[{"a":"1","b":"2"}]`}},
	"jsondecode":   {{`jsondecode("{\"a\": [1, null]}")`, `{"a":[1,null]}`}},
	"jsonencode":   {{`jsonencode({ a = [1] })`, `"{\"a\":[1]}"`}},
	"urlencode":    {{`urlencode("a b/ü")`, `"a+b%2F%C3%BC"`}},
	"yamldecode":   {{`yamldecode("a: &x [1, y]\nb: *x\n")`, `{"a":[1,true],"b":[1,true]}`}, {`yamldecode("a: [")`, "did not find"}},
	"yamlencode":   {{`yamlencode({ a = [1] })`, `"\"a\":\n- 1\n"`}},

	"formatdate": {{`formatdate("YYYY-MM-DD", "2020-01-02T03:04:05Z")`, `"2020-01-02"`}},
	"timeadd":    {{`timeadd("2020-01-02T03:04:05Z", "10m")`, `"2020-01-02T03:14:05Z"`}},

	"bcrypt":     {{`strlen(bcrypt("a", 4))`, `60`}, {`bcrypt("a", 31)`, "from 4 to 14"}, {`bcrypt("a", 4.5)`, "whole number"}},
	"md5":        {{`md5("a")`, `"0cc175b9c0f1b6a831c399e269772661"`}},
	"rsadecrypt": {{`rsadecrypt("?", "x")`, "not base64"}, {`rsadecrypt("", "x")`, "is not PEM"}},
	"sha1":       {{`sha1("a")`, `"86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"`}},
	"sha256":     {{`substr(sha256("a"), 0, 8)`, `"ca978112"`}},
	"sha512":     {{`substr(sha512("a"), 0, 8)`, `"1f40fc92"`}},
	"uuidv4":     {{`strlen(uuidv4())`, `36`}},
	"uuidv5":     {{`uuidv5("dns", "www.example.com")`, `"2ed6657d-e927-568b-95e1-2665a8aea6a2"`}},

	"cidrhost":    {{`cidrhost("10.1.0.0/16", 5)`, `"10.1.0.5"`}},
	"cidrnetmask": {{`cidrnetmask("10.0.0.0/12")`, `"255.240.0.0"`}},
	"cidrsubnet":  {{`cidrsubnet("10.0.0.0/8", 8, 2)`, `"10.2.0.0/16"`}},
	"cidrsubnets": {{`cidrsubnets("10.0.0.0/8", 8, 4)`, `["10.0.0.0/16","10.16.0.0/12"]`}},

	"can":     {{`can(["a"][5])`, `false`}},
	"convert": {{`convert("5", number)`, `5`}, {`convert(["a"], set(string))`, `["a"]`}},
	"try":     {{`try(["a"][5], "b")`, `"b"`}},

	"abspath":    {{`basename(abspath("a/b"))`, `"b"`}},
	"basename":   {{`basename("a/b.c")`, `"b.c"`}},
	"dirname":    {{`dirname("a/b.c")`, `"a"`}},
	"file":       {{`file("hello")`, `"hi"`}, {`file("nothing")`, "nothing"}},
	"filebase64": {{`filebase64("hello")`, `"aGk="`}},
	"fileexists": {{`fileexists("nothing")`, `false`}},
	"fileset":    {{`fileset(".", "*")`, `["hello"]`}},
	"pathexpand": {{`pathexpand("a")`, `"a"`}},
}

func TestFunctions(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hello"), []byte("hi"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, calls := range functionCalls {
		if have := evaluated(t, "can("+name+"())", dir); strings.Contains(have, "no function") {
			t.Errorf("there is no function %s", name)
		}
		for _, call := range calls {
			have := evaluated(t, call[0], dir)
			if failed := strings.HasPrefix(have, "f.hcl:"); failed && (json.Valid([]byte(call[1])) || !strings.Contains(have, call[1])) || !failed && have != call[1] {
				t.Errorf("%s: have %s, want %s", call[0], have, call[1])
			}
		}
	}
	if len(functionCalls) != 83 {
		t.Errorf("%d functions", len(functionCalls))
	}
}

// A reference within a text is meant, also where the text is an argument.
func TestReferencesInArguments(t *testing.T) {
	text := "job \"a\" {\n  meta = { x = upper(\"${host.name}\") }\n  group \"g\" {\n    task \"t\" {\n      driver = \"raw_exec\"\n      config {\n        command = \"x\"\n      }\n    }\n  }\n}\n"
	result, err := jobspec.Parse(jobspec.Config{File: jobspec.File{Name: "f.hcl", Text: []byte(text)}})
	if err != nil || len(result.Warnings) > 0 || result.Job.Meta["x"] != "${HOST.NAME}" {
		t.Errorf("%+v, %v", result, err)
	}
}

func TestBcryptHashes(t *testing.T) {
	var hash string
	if err := json.Unmarshal([]byte(evaluated(t, `bcrypt("secret")`, "")), &hash); err != nil {
		t.Fatal(err)
	}
	if err := bcrypt.CompareHashAndPassword([]byte(hash), []byte("secret")); err != nil {
		t.Errorf("%s: %v", hash, err)
	}
	many := evaluated(t, `[for i in range(1000) : bcrypt("a", 12)]`, "")
	if !strings.Contains(many, "more than 8 MB") {
		t.Errorf("have %.200s", many)
	}
}

func TestRSADecrypts(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	modern, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 it is what the function of the language takes
	sealed, err := rsa.EncryptPKCS1v15(rand.Reader, &key.PublicKey, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(sealed)
	for _, block := range []*pem.Block{{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}, {Type: "PRIVATE KEY", Bytes: modern}} {
		if have := evaluated(t, fmt.Sprintf("rsadecrypt(%q, %q)", text, pem.EncodeToMemory(block)), ""); have != `"secret"` {
			t.Errorf("%s: have %s", block.Type, have)
		}
		if have := evaluated(t, fmt.Sprintf("rsadecrypt(%q, %q)", text[:40], pem.EncodeToMemory(block)), ""); !strings.Contains(have, "was not made for this key") {
			t.Errorf("%s: have %s", block.Type, have)
		}
	}
}

// Many uses of one anchor are no bomb.
func TestYAMLAliases(t *testing.T) {
	text := "base: &base\n  image: \"a, b\"\n  list:\n  - x\n"
	for i := range 500 {
		text += fmt.Sprintf("s%d:\n  <<: *base\n  n: %d\n", i, i)
	}
	if have := evaluated(t, fmt.Sprintf("yamldecode(%q).s499.list", text), ""); have != `["x"]` {
		t.Errorf("have %.300s", have)
	}
}

// TestAliasBombs: a few lines of YAML unfold into more than any machine has. They must fail at once.
func TestAliasBombs(t *testing.T) {
	for _, form := range []string{"%c: &%c [%s]\n", "%c: &%c {p: %s}\n"} {
		bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
		for c := 'b'; c <= 'z'; c++ {
			inner := strings.Repeat(fmt.Sprintf("*%c,", c-1), 9)
			if strings.Contains(form, "p:") {
				inner = fmt.Sprintf("*%c, q: *%c, r: *%c", c-1, c-1, c-1)
			}
			bomb += fmt.Sprintf(form, c, c, inner)
		}
		before := time.Now()
		have := evaluated(t, fmt.Sprintf("yamldecode(%q)", bomb), "")
		if took := time.Since(before); took > 10*time.Second || !strings.Contains(have, "more than 8 MB") {
			t.Errorf("took %s: %.300s", took, have)
		}
	}
}
