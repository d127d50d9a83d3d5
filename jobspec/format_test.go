package jobspec

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestFormat(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"job \"a\" {\ncount=1\n  # note\n    long_name   = [1,2]\n}\n", "job \"a\" {\n  count = 1\n  # note\n  long_name = [1, 2]\n}\n"},
		{"a = <<EOT\n  kept   as it is\nEOT\n", "a = <<EOT\n  kept   as it is\nEOT\n"},
		{"x = \"${ a.b }\"\n", "x = \"${a.b}\"\n"},
	} {
		got, err := Format(File{"f", []byte(c.text)})
		if err != nil || string(got) != c.want {
			t.Errorf("%q becomes %q, %v", c.text, got, err)
		}
		again, err := Format(File{"f", got})
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%q is formatted again to %q, %v", got, again, err)
		}
	}
	for _, text := range []string{"job {", "a = ", strings.Repeat("[", 10000), "a = \"\xff\""} {
		if got, err := Format(File{"f.hcl", []byte(text)}); err == nil || !strings.Contains(err.Error(), "f.hcl") {
			t.Errorf("%.20q: %.20q, %v", text, got, err)
		}
	}
}

func FuzzFormat(f *testing.F) {
	f.Add([]byte("job \"a\" {\ncount=1\n}"))
	f.Add([]byte("a = <<-EOT\n x\n EOT\nb={c=[\n1,2]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = Format(File{"f", text})
		_, _ = Declared(File{"f", text}), Assigned(File{"f", text})
	})
}

func TestNamesOfVariables(t *testing.T) {
	file := File{"f", []byte("variable \"b\" {}\nvariables {\n a = 1\n}\njob \"x\" {}\nlocals {\n c = 2\n}")}
	if got := Declared(file); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("declared are %v", got)
	}
	if got := Declared(File{"f", []byte(`{"variable": {"j": {}}, "job": {"x": {}}}`)}); !slices.Equal(got, []string{"j"}) {
		t.Errorf("declared in JSON are %v", got)
	}
	if got := Assigned(File{"v", []byte("b = 1\na = [2]\n")}); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("assigned are %v", got)
	}
	if got := append(Declared(File{"f", []byte("}")}), Assigned(File{"f", []byte("{")})...); len(got) > 0 {
		t.Errorf("files that cannot be read have %v", got)
	}
}
