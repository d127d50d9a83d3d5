package link

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"net"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/pki"
)

// Token lets a node join: where the servers are, by what they are recognised, and the secret by which they recognise it.
type Token struct {
	ID        [8]byte // what the servers know it by; no secret
	Secret    [16]byte
	Role      pki.Role
	Authority [sha256.Size]byte // pki.Fingerprint of the cluster's authority
	Expires   time.Time         // by the servers' clocks, to the second
	Addresses []string          // host:port of port 4647 of servers
}

const (
	tokenPrefix  = "clusterjoin1_"
	tokenAny     = "clusterjoin" // what tokens of all versions begin with
	maxTokenText = 4096          // characters that are looked at
	maxAddresses = 8
)

// tokenText has letters and digits alone, so that a double click selects all of it, and no cases.
var tokenText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// The body of a token is its length (2 bytes, all of it), a byte for the role, when it expires (unix seconds, 8 bytes), ID,
// secret, fingerprint, the number of addresses, these, each after its length, and the CRC-32C of all that (4 bytes).
const tokenFixed = 2 + 1 + 8 + 8 + 16 + sha256.Size + 1

var (
	roleLetters = map[pki.Role]byte{pki.RoleServer: 's', pki.RoleClient: 'c'}
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
)

// Name is the token's ID as text, for records and logs.
func (t Token) Name() string { return hex.EncodeToString(t.ID[:]) }

// String names the token and keeps its secret.
func (t Token) String() string { return "join token " + t.Name() }

// Text is the token as one word for people to carry. It holds the secret.
func (t Token) Text() string {
	body := []byte{0, 0, roleLetters[t.Role]}
	body = binary.BigEndian.AppendUint64(body, uint64(t.Expires.Unix()))
	body = append(body, t.ID[:]...)
	body = append(body, t.Secret[:]...)
	body = append(body, t.Authority[:]...)
	addresses := t.Addresses[:min(len(t.Addresses), maxAddresses)]
	body = append(body, byte(len(addresses)))
	for _, address := range addresses {
		body = append(append(body, byte(len(address))), address...)
	}
	binary.BigEndian.PutUint16(body, uint16(len(body)+4))
	body = binary.BigEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
	return tokenPrefix + tokenText.EncodeToString(body)
}

func badToken(why string) error {
	return cluster.Errorf(cluster.CodeInvalid, "read join token: %s", why)
}

// ParseToken reads what Text wrote; spaces and line ends that came in when it was copied do not matter. Its errors say what
// to do and repeat nothing of the text.
func ParseToken(text string) (Token, error) {
	if len(text) > maxTokenText {
		return Token{}, badToken("it is far too long to be one: copy it again")
	}
	text = strings.ToLower(strings.Join(strings.Fields(text), ""))
	switch {
	case text == "":
		return Token{}, badToken("it is empty: make one with `cluster join-token server` (or client) on a server")
	case strings.HasPrefix(tokenPrefix, text):
		return Token{}, badToken("it is cut short: copy all of it")
	case !strings.HasPrefix(text, tokenAny):
		return Token{}, badToken("that is none: one begins with " + tokenPrefix + " and is made with `cluster join-token server` (or client) on a server")
	case !strings.HasPrefix(text, tokenPrefix):
		return Token{}, badToken("another version of the program made it: use the same version as the servers")
	}
	text = text[len(tokenPrefix):]
	whole := len(text) - map[int]int{1: 1, 3: 1, 6: 1}[len(text)%8] // a cut may leave bits that make no byte
	body, err := tokenText.DecodeString(text[:whole])
	if err != nil {
		return Token{}, badToken("a character in it is wrong: copy it again")
	}
	if len(body) < 2 || len(body) < int(binary.BigEndian.Uint16(body)) {
		return Token{}, badToken("it is cut short: copy all of it")
	}
	sum := len(body) - 4
	if len(body) != int(binary.BigEndian.Uint16(body)) || len(body) < tokenFixed+4 ||
		crc32.Checksum(body[:sum], castagnoli) != binary.BigEndian.Uint32(body[sum:]) {
		return Token{}, badToken("a character in it is wrong or too many: copy it again")
	}
	return parseTokenBody(body[:sum])
}

// parseTokenBody reads a body whose checksum is right; it may have been made by somebody else all the same.
func parseTokenBody(body []byte) (Token, error) {
	var t Token
	for role, letter := range roleLetters {
		if letter == body[2] {
			t.Role = role
		}
	}
	t.Expires = time.Unix(int64(binary.BigEndian.Uint64(body[3:])), 0).UTC()
	rest := body[11:]
	rest = rest[copy(t.ID[:], rest):]
	rest = rest[copy(t.Secret[:], rest):]
	rest = rest[copy(t.Authority[:], rest):]
	count := int(rest[0])
	rest = rest[1:]
	for range count {
		if len(rest) == 0 || len(rest) <= int(rest[0]) {
			return Token{}, badToken("it is damaged: make another")
		}
		address := string(rest[1 : 1+rest[0]])
		if _, _, err := net.SplitHostPort(address); err != nil {
			return Token{}, badToken("it is damaged: make another")
		}
		t.Addresses, rest = append(t.Addresses, address), rest[1+rest[0]:]
	}
	if t.Role == "" || count == 0 || count > maxAddresses || len(rest) > 0 {
		return Token{}, badToken("it is damaged: make another")
	}
	return t, nil
}
