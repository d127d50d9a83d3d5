package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/template"

	"github.com/urfave/cli/v2"
)

// templateFlag goes with jsonFlag: the same object, put into words by the user.
func templateFlag() cli.Flag {
	return &cli.StringFlag{Name: "t", Usage: "print the API's object by a Go `TEMPLATE`"}
}

// asObject reports whether the user wants the API's object and not a text about it.
func (c *call) asObject() bool { return c.Bool("json") || c.String("t") != "" }

// object prints an object of the API: as JSON, or by the user's template.
func (c *call) object(value any) error {
	text := c.String("t")
	if text == "" {
		return c.out.json(value)
	}
	form, err := template.New("-t").Parse(text)
	if err != nil {
		return fmt.Errorf("read flag -t: %w", err)
	}
	tree, err := plainObject(value)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := form.Execute(&b, tree); err != nil {
		return fmt.Errorf("print by the template of -t: %w: -json shows what there is", err)
	}
	c.out.text(strings.TrimSuffix(b.String(), "\n"))
	return nil
}

// plainObject is the value with the names that it has in JSON, and numbers that templates can compare.
func plainObject(value any) (any, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	reader := json.NewDecoder(bytes.NewReader(text))
	reader.UseNumber() // indexes need all their 64 bits
	var tree any
	if err := reader.Decode(&tree); err != nil {
		return nil, err
	}
	return withNumbers(tree), nil
}

func withNumbers(tree any) any {
	switch t := tree.(type) {
	case json.Number:
		if n, err := t.Int64(); err == nil {
			return n
		}
		n, _ := t.Float64() // what JSON calls a number
		return n
	case []any:
		for i := range t {
			t[i] = withNumbers(t[i])
		}
	case map[string]any:
		for key := range t {
			t[key] = withNumbers(t[key])
		}
	}
	return tree
}
