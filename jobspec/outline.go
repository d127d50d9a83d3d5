package jobspec

import (
	"bytes"
	"unicode/utf8"
)

// outlined reports whether code surely passes checkTokens. It goes over the bytes once, which takes a tenth of the time that tokens
// take, and leaves what is rare or wrong to them: false says nothing.
func outlined(code []byte) bool {
	o := outline{text: code}
	for o.at < len(code) {
		if !o.step() {
			return false
		}
	}
	return len(o.open) == 0 && o.operators <= maxOperators
}

// outline is how far a text was read. Its methods read some more, and are false where they do not know how to go on.
type outline struct {
	text      []byte
	at        int
	open      []byte // '{', '(' and '[' are themselves, '$' a reference or directive in a text, '"' and '<' a text
	marker    []byte // that ends the heredoc; nil outside
	begun     bool   // of the heredoc's line something was read
	operators int    // at least as many as there are; each brace counts as a block
	blocks    int
}

// step reads up to the next thing that opens or ends something, or less.
func (o *outline) step() bool {
	switch o.innermost() {
	case '"':
		return o.quoted()
	case '<':
		return o.heredoc()
	}
	return o.code()
}

func (o *outline) innermost() byte {
	if len(o.open) == 0 {
		return 0
	}
	return o.open[len(o.open)-1]
}

func (o *outline) push(c byte) bool {
	o.open = append(o.open, c)
	return len(o.open) <= maxNesting
}

func (o *outline) pop(fits bool) bool {
	if fits {
		o.open = o.open[:len(o.open)-1]
	}
	return fits
}

// next is the byte at a distance, 0 behind the end.
func (o *outline) next(distance int) byte {
	if o.at+distance >= len(o.text) {
		return 0
	}
	return o.text[o.at+distance]
}

// code reads one byte, a comment, or the head of a heredoc.
func (o *outline) code() bool {
	c := o.text[o.at]
	switch c {
	case '#':
		return o.skipLine()
	case '/':
		switch o.next(1) {
		case '/':
			return o.skipLine()
		case '*':
			return o.skipComment()
		}
		o.operators++
	case '<':
		if o.next(1) == '<' {
			return o.beginHeredoc()
		}
		o.operators++
	case '*', '%', '+', '-', '=', '!', '>', '&', '|', '?':
		o.operators++
	case '~':
		return false
	}
	if c >= utf8.RuneSelf { // in a name; the scanner takes what is not UTF-8 for one, together with the byte behind it
		return false
	}
	o.at++
	switch c {
	case '[':
		o.operators++
		return o.push(c)
	case '{':
		o.blocks++
		return o.blocks <= maxBlocks && o.push(c)
	case '(', '"':
		return o.push(c)
	case '}':
		return o.pop(o.innermost() == '{' || o.innermost() == '$')
	case ')':
		return o.pop(o.innermost() == '(')
	case ']':
		return o.pop(o.innermost() == '[')
	}
	return o.operators <= maxOperators
}

func (o *outline) skipLine() bool {
	end := bytes.IndexByte(o.text[o.at:], '\n')
	if end < 0 {
		end = len(o.text) - o.at
	}
	o.at += end
	return true
}

func (o *outline) skipComment() bool {
	o.at += len("/*")
	end := bytes.Index(o.text[o.at:], []byte("*/"))
	o.at += end + len("*/")
	return end >= 0
}

func (o *outline) beginHeredoc() bool {
	o.at += len("<<")
	if o.next(0) == '-' {
		o.at++
	}
	head, _, found := bytes.Cut(o.text[o.at:], []byte("\n"))
	marker := bytes.TrimSuffix(head, []byte("\r"))
	if !found || o.marker != nil || !isMarker(marker) {
		return false
	}
	o.at += len(head) + 1
	o.marker, o.begun = marker, false
	return o.push('<')
}

// isMarker reports whether a word is a name in ASCII.
func isMarker(word []byte) bool {
	for i, c := range word {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return len(word) > 0
}

// heredoc reads to the end of a line, or to a reference in it.
func (o *outline) heredoc() bool {
	end := bytes.IndexByte(o.text[o.at:], '\n')
	if end < 0 {
		return false
	}
	line := o.text[o.at : o.at+end]
	if !o.begun && bytes.Equal(bytes.TrimSpace(line), o.marker) {
		o.at += end
		o.marker = nil
		return o.pop(true)
	}
	if sigil := bytes.IndexAny(line, "$%"); sigil >= 0 {
		o.at += sigil
		o.begun = true
		return o.sigil()
	}
	o.at += end + 1
	o.begun = false
	return true
}

// quoted reads to the end of a text in quotes, or to a reference in it.
func (o *outline) quoted() bool {
	for ; o.at < len(o.text); o.at++ {
		switch o.text[o.at] {
		case '"':
			o.at++
			return o.pop(true)
		case '$', '%':
			return o.sigil()
		case '\n', '\r':
			return false
		case '\\':
			switch o.next(1) {
			case '$', '%', '\n', '\r':
				return false
			}
			o.at++
		}
	}
	return false
}

// sigil reads a sign that may begin a reference.
func (o *outline) sigil() bool {
	switch c := o.next(1); {
	case c == '{':
		o.at += len("${")
		o.operators++
		return o.push('$')
	case c < ' ' || c > '~' || c == '$' || c == '%' || c == '"' || c == '\\':
		return false
	}
	o.at++
	return o.operators <= maxOperators
}
