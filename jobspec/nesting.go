package jobspec

import (
	"bytes"
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// The parsers of hcl recurse without bound, and a stack that overflows ends the program. So a text is looked through first: how
// deep its brackets are, and how much of it can be one level of recursion although no bracket is open.
const (
	maxNesting   = 100    // brackets within brackets
	maxOperators = 5_000  // of a text: each may hold the one before
	maxBlocks    = 10_000 // of a text: after a mistake the parser may miss the ends of all, so that each holds the next
	maxBrackets  = 10_000 // of a text in the JSON syntax
)

// checkNesting refuses texts whose syntax tree would be too deep to walk over.
func checkNesting(f File, lex lexer) *hcl.Diagnostic {
	if outlined(f.Text) {
		return nil
	}
	tokens, _ := lex(f.Text, f.Name, hcl.InitialPos) // what is wrong with the tokens is the parser's to say
	return checkTokens(tokens)
}

// lexer is one of the scanners of package hclsyntax for code.
type lexer func(text []byte, name string, start hcl.Pos) (hclsyntax.Tokens, hcl.Diagnostics)

// checkTemplate is checkNesting for a text with references, without quotes.
func checkTemplate(f File) *hcl.Diagnostic {
	if bytes.IndexByte(f.Text, '{') < 0 {
		return nil
	}
	tokens, _ := hclsyntax.LexTemplate(f.Text, f.Name, hcl.InitialPos)
	return checkTokens(tokens)
}

// closers are the tokens that end what others open.
var closers = map[hclsyntax.TokenType]hclsyntax.TokenType{
	hclsyntax.TokenOBrace:          hclsyntax.TokenCBrace,
	hclsyntax.TokenOParen:          hclsyntax.TokenCParen,
	hclsyntax.TokenOBrack:          hclsyntax.TokenCBrack,
	hclsyntax.TokenOQuote:          hclsyntax.TokenCQuote,
	hclsyntax.TokenOHeredoc:        hclsyntax.TokenCHeredoc,
	hclsyntax.TokenTemplateInterp:  hclsyntax.TokenTemplateSeqEnd,
	hclsyntax.TokenTemplateControl: hclsyntax.TokenTemplateSeqEnd,
}

// nesting is what the tokens so far have opened.
type nesting struct {
	open      []hclsyntax.TokenType // what will end it, the innermost last
	operators int
	blocks    int
	before    hclsyntax.TokenType // the last token, which may stand on another line
}

// add takes the next token. A closing bracket that does not fit the one that is open ends nothing: that is where parsers begin to guess.
func (n *nesting) add(t hclsyntax.TokenType) {
	if closer, opens := closers[t]; opens {
		n.open = append(n.open, closer)
	} else if last := len(n.open) - 1; last >= 0 && t == n.open[last] {
		n.open = n.open[:last]
	}
	switch t {
	case hclsyntax.TokenNewline, hclsyntax.TokenComment:
		return
	case hclsyntax.TokenOBrack:
		if endsOperand(n.before) { // an index
			n.operators++
		}
	case hclsyntax.TokenOBrace:
		if endsOperand(n.before) {
			n.blocks++
		}
	case hclsyntax.TokenTemplateControl,
		hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPlus, hclsyntax.TokenMinus, hclsyntax.TokenPercent,
		hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq, hclsyntax.TokenGreaterThan,
		hclsyntax.TokenGreaterThanEq, hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenBang, hclsyntax.TokenQuestion:
		n.operators++
	}
	n.before = t
}

// checkTokens refuses what is nested too deep or has too many of what nests without brackets.
func checkTokens(tokens hclsyntax.Tokens) *hcl.Diagnostic {
	var n nesting
	for _, token := range tokens {
		n.add(token.Type)
		switch {
		case len(n.open) > maxNesting:
			return tooMuch(token.Range, "Nested too deep", fmt.Sprintf("Brackets and blocks may be nested %d deep.", maxNesting))
		case n.operators > maxOperators:
			return tooMuch(token.Range, "Too many operators", fmt.Sprintf("A file may have %d operators.", maxOperators))
		case n.blocks > maxBlocks:
			return tooMuch(token.Range, "Too many blocks", fmt.Sprintf("A file may have %d blocks.", maxBlocks))
		}
	}
	return nil
}

// endsOperand reports whether a value may end with the token: a bracket behind it is an index, and a brace begins a block.
func endsOperand(t hclsyntax.TokenType) bool {
	switch t {
	case hclsyntax.TokenIdent, hclsyntax.TokenNumberLit, hclsyntax.TokenStar, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc,
		hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenCBrace:
		return true
	}
	return false
}

func tooMuch(at hcl.Range, summary, detail string) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: &at}
}

// checkJSONNesting is checkNesting for the JSON syntax. Where a text in quotes ends, hcl's scanner and this one disagree in rare cases
// (a control character in it, characters that join with the quote), so that all the brackets count, those in texts too.
func checkJSONNesting(f File) *hcl.Diagnostic {
	at, summary, detail := tooDeep(f.Text), "Nested too deep", fmt.Sprintf("Objects and lists may be nested %d deep.", maxNesting)
	if at < 0 {
		at, summary = tooMany(f.Text), "Too many brackets"
		detail = fmt.Sprintf("A file in the JSON syntax may have %d opening brackets, those in texts included.", maxBrackets)
	}
	if at < 0 {
		return nil
	}
	here := hcl.Pos{Line: 1 + bytes.Count(f.Text[:at], []byte("\n")), Column: 1, Byte: at}
	return tooMuch(hcl.Range{Filename: f.Name, Start: here, End: here}, summary, detail)
}

// tooDeep is where JSON is nested too deep, -1 for nowhere.
func tooDeep(text []byte) int {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxNesting {
				return i
			}
		case c == '}' || c == ']':
			depth = max(depth-1, 0)
		}
	}
	return -1
}

// tooMany is where a text has more opening brackets than any data needs, -1 for nowhere.
func tooMany(text []byte) int {
	opened := 0
	for i, c := range text {
		if c == '{' || c == '[' {
			if opened++; opened > maxBrackets {
				return i
			}
		}
	}
	return -1
}

var errTooDeep = fmt.Errorf("lists and objects may be nested %d deep", maxNesting)

// checked is a function of a text for those texts alone that pass a check.
func checked(f function.Function, check func(text []byte) error) function.Function {
	return function.New(&function.Spec{
		Description: f.Description(),
		Params:      f.Params(),
		Type: func(args []cty.Value) (cty.Type, error) {
			if text := args[0]; text.IsKnown() && !text.IsNull() {
				if err := check([]byte(text.AsString())); err != nil {
					return cty.NilType, err
				}
			}
			return f.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f.Call(args) },
	})
}

// checkJSONDepth refuses JSON that the decoder would recurse into too deep.
func checkJSONDepth(text []byte) error {
	if tooDeep(text) >= 0 {
		return errTooDeep
	}
	return nil
}

// checkYAMLDepth refuses YAML that takes the decoder long, or recurses too deep: it needs a bracket for each level, or a sign
// (- a, ? a, : a) on the same line or further in on the next.
func checkYAMLDepth(text []byte) error {
	if tooMany(text) >= 0 {
		return fmt.Errorf("a text in YAML may have %d opening brackets", maxBrackets)
	}
	for line := range bytes.Lines(text) {
		signs := 0
		for i, c := range line {
			alone := (i == 0 || isBlank(line[i-1])) && (i+1 == len(line) || isBlank(line[i+1]))
			if alone && (c == '-' || c == '?' || c == ':') {
				signs++
			}
		}
		if signs > maxNesting {
			return errTooDeep
		}
	}
	return nil
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
