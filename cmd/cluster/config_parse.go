package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// place is where in a configuration something stands.
type place struct {
	File string
	Line int
}

func (p place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// valueKind is what a value of a configuration file is.
type valueKind uint8

const (
	nullValue valueKind = iota
	textValue
	numberValue
	boolValue
	listValue
	bodyValue
)

var valueKindNames = [...]string{"null", "a text", "a number", "true or false", "a list", "a block"}

func (k valueKind) String() string { return valueKindNames[k] }

// value is a value of a configuration file: the same tree for HCL and JSON.
type value struct {
	at    place
	kind  valueKind
	text  string // of a text, number or bool
	list  []value
	items []item // of a body, in order; a key may repeat
}

// item is a key with its value. The labels of a block are keys of their own: `plugin "docker" {}` is plugin → docker → {}.
type item struct {
	key   string
	at    place
	value value
}

// maxConfigDepth bounds how deeply a configuration file may nest.
const maxConfigDepth = 32

// parseConfig reads a file in the language of agent configurations. That is HCL in its first version: several settings
// may stand on a line, keys may be quoted, blocks may repeat, nothing is evaluated; JSON is a part of it. The words are
// split by the library's scanner, whose second version of the language is stricter than the files people have.
func parseConfig(name string, text []byte) (value, error) {
	tokens, diagnostics := hclsyntax.LexConfig(text, name, hcl.InitialPos)
	if diagnostics.HasErrors() {
		return value{}, diagnosticError(name, diagnostics)
	}
	p := &configParser{file: name, text: text}
	for _, t := range tokens {
		if t.Type != hclsyntax.TokenComment && t.Type != hclsyntax.TokenNewline {
			p.tokens = append(p.tokens, t)
		}
	}
	if p.peek().Type == hclsyntax.TokenOBrace { // JSON: the whole file is one object
		p.next()
		root, err := p.body(1, hclsyntax.TokenCBrace)
		if err == nil && p.peek().Type != hclsyntax.TokenEOF {
			return value{}, p.unexpected("the end of the file")
		}
		return root, err
	}
	return p.body(1, hclsyntax.TokenEOF)
}

func diagnosticError(name string, diagnostics hcl.Diagnostics) error {
	d := diagnostics.Errs()[0]
	if first, ok := d.(*hcl.Diagnostic); ok && first.Subject != nil {
		return fmt.Errorf("%s:%d: %s: %s", name, first.Subject.Start.Line, strings.ToLower(first.Summary), first.Detail)
	}
	return fmt.Errorf("%s: %w", name, d)
}

type configParser struct {
	file   string
	text   []byte
	tokens hclsyntax.Tokens
	i      int
}

func (p *configParser) peek() hclsyntax.Token {
	if p.i >= len(p.tokens) {
		return hclsyntax.Token{Type: hclsyntax.TokenEOF}
	}
	return p.tokens[p.i]
}

func (p *configParser) next() hclsyntax.Token {
	t := p.peek()
	p.i++
	return t
}

func (p *configParser) here() place {
	if p.i >= len(p.tokens) && len(p.tokens) > 0 {
		return place{p.file, p.tokens[len(p.tokens)-1].Range.End.Line}
	}
	return place{p.file, p.peek().Range.Start.Line}
}

func (p *configParser) unexpected(want string) error {
	t := p.peek()
	if t.Type == hclsyntax.TokenEOF {
		return fmt.Errorf("%s: the file ends here: want %s", p.here(), want)
	}
	return fmt.Errorf("%s: unexpected %q: want %s", p.here(), clip(string(t.Bytes)), want)
}

// body reads settings up to the token end.
func (p *configParser) body(depth int, end hclsyntax.TokenType) (value, error) {
	v := value{at: p.here(), kind: bodyValue}
	if depth > maxConfigDepth {
		return v, fmt.Errorf("%s: blocks nest deeper than %d", p.here(), maxConfigDepth)
	}
	for {
		switch p.peek().Type {
		case end:
			p.next()
			return v, nil
		case hclsyntax.TokenComma, hclsyntax.TokenSemicolon:
			p.next()
			continue
		}
		i, err := p.item(depth)
		if err != nil {
			return v, err
		}
		v.items = append(v.items, i)
	}
}

// item reads `key = value`, `"key": value`, `key { … }` or `key "label" { … }`.
func (p *configParser) item(depth int) (item, error) {
	i := item{at: p.here()}
	var err error
	if i.key, err = p.key(); err != nil {
		return i, err
	}
	switch p.peek().Type {
	case hclsyntax.TokenEqual, hclsyntax.TokenColon:
		p.next()
		i.value, err = p.value(depth)
		return i, err
	case hclsyntax.TokenOBrace:
		p.next()
		i.value, err = p.body(depth+1, hclsyntax.TokenCBrace)
		return i, err
	case hclsyntax.TokenOQuote, hclsyntax.TokenIdent:
		if depth > maxConfigDepth {
			return i, fmt.Errorf("%s: blocks nest deeper than %d", p.here(), maxConfigDepth)
		}
		if p.peek().Type == hclsyntax.TokenIdent && p.here().Line != i.at.Line {
			break // `key` alone on its line
		}
		label, err := p.item(depth + 1)
		i.value = value{at: label.at, kind: bodyValue, items: []item{label}}
		return i, err
	}
	return i, p.unexpected(fmt.Sprintf("`= VALUE` or a block after %q", clip(i.key)))
}

// key reads a name, quoted or not; an unquoted one may hold dots.
func (p *configParser) key() (string, error) {
	switch p.peek().Type {
	case hclsyntax.TokenOQuote:
		return p.quoted()
	case hclsyntax.TokenIdent:
		key := string(p.next().Bytes)
		for p.peek().Type == hclsyntax.TokenDot {
			p.next()
			if p.peek().Type != hclsyntax.TokenIdent {
				return "", p.unexpected("a name after the dot")
			}
			key += "." + string(p.next().Bytes)
		}
		return key, nil
	}
	return "", p.unexpected("a name")
}

func (p *configParser) value(depth int) (value, error) {
	v := value{at: p.here()}
	var err error
	switch t := p.peek(); t.Type {
	case hclsyntax.TokenOQuote:
		v.kind = textValue
		v.text, err = p.quoted()
	case hclsyntax.TokenOHeredoc:
		v.kind = textValue
		v.text, err = p.heredoc()
	case hclsyntax.TokenMinus:
		p.next()
		if p.peek().Type != hclsyntax.TokenNumberLit {
			return v, p.unexpected("a number")
		}
		v.kind, v.text = numberValue, "-"+string(p.next().Bytes)
	case hclsyntax.TokenNumberLit:
		v.kind, v.text = numberValue, string(p.next().Bytes)
	case hclsyntax.TokenIdent:
		switch v.text = string(t.Bytes); v.text {
		case "true", "false":
			v.kind = boolValue
		case "null":
		default:
			return v, fmt.Errorf("%s: %q stands where a value is wanted: texts are written in quotes", v.at, clip(v.text))
		}
		p.next()
	case hclsyntax.TokenOBrack:
		p.next()
		v.kind = listValue
		v.list, err = p.list(depth + 1)
	case hclsyntax.TokenOBrace:
		p.next()
		return p.body(depth+1, hclsyntax.TokenCBrace)
	default:
		err = p.unexpected("a value")
	}
	return v, err
}

func (p *configParser) list(depth int) ([]value, error) {
	if depth > maxConfigDepth {
		return nil, fmt.Errorf("%s: lists nest deeper than %d", p.here(), maxConfigDepth)
	}
	var list []value
	for {
		if p.peek().Type == hclsyntax.TokenCBrack {
			p.next()
			return list, nil
		}
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		switch p.peek().Type {
		case hclsyntax.TokenComma:
			p.next()
		case hclsyntax.TokenCBrack:
		default:
			return nil, p.unexpected("a comma or `]`")
		}
	}
}

// quoted reads a text in quotes. What stands in `${…}` is taken as it is.
func (p *configParser) quoted() (string, error) {
	at, start, depth := p.here(), p.next().Range.End.Byte, 0
	for {
		t := p.next()
		switch t.Type {
		case hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			depth++
		case hclsyntax.TokenTemplateSeqEnd:
			depth--
		case hclsyntax.TokenCQuote:
			if depth <= 0 {
				return unescape(at, string(p.text[start:t.Range.Start.Byte]))
			}
		case hclsyntax.TokenEOF:
			return "", fmt.Errorf("%s: the text that begins here has no closing quote", at)
		}
	}
}

// unescape replaces the escapes that HCL and JSON share.
func unescape(at place, raw string) (string, error) {
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(raw, `\`)
		b.WriteString(plain)
		if !found {
			return b.String(), nil
		}
		if strings.HasPrefix(rest, "/") {
			b.WriteByte('/')
			raw = rest[1:]
			continue
		}
		r, _, tail, err := strconv.UnquoteChar(`\`+rest, '"')
		if err != nil {
			return "", fmt.Errorf("%s: the text holds the unknown escape `\\%s`", at, clip(rest[:min(1, len(rest))]))
		}
		b.WriteRune(r)
		raw = tail
	}
}

// heredoc reads `<<END` up to a line END; with `<<-END` the indentation that all lines share is dropped.
func (p *configParser) heredoc() (string, error) {
	at, open := p.here(), p.next()
	start := open.Range.End.Byte
	for {
		t := p.next()
		switch t.Type {
		case hclsyntax.TokenCHeredoc:
			text := string(p.text[start:t.Range.Start.Byte])
			if bytes.HasPrefix(open.Bytes, []byte("<<-")) {
				text = dedent(text)
			}
			return text, nil
		case hclsyntax.TokenEOF:
			return "", fmt.Errorf("%s: the text that begins here has no end", at)
		}
	}
}

func dedent(text string) string {
	lines := strings.SplitAfter(text, "\n")
	shared := -1
	for _, l := range lines {
		if strings.TrimSpace(l) == "" {
			continue
		}
		if n := len(l) - len(strings.TrimLeft(l, " \t")); shared < 0 || n < shared {
			shared = n
		}
	}
	for i, l := range lines {
		lines[i] = l[min(max(0, shared), len(l)-len(strings.TrimLeft(l, " \t"))):]
	}
	return strings.Join(lines, "")
}
