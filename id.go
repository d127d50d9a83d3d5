package cluster

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// ID names a node, allocation, evaluation or deployment: 16 bytes written as a UUID.
// The zero ID means "none" and is written as the empty string.
type ID [16]byte

// String is the UUID form, or "" for the zero ID.
func (id ID) String() string {
	if id.IsZero() {
		return ""
	}
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// Short is the first eight characters, the form lists show to people.
func (id ID) Short() string {
	if id.IsZero() {
		return ""
	}
	return hex.EncodeToString(id[:4])
}

// IsZero reports whether the ID names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// Compare orders IDs by their bytes, which is also the order of their text.
func (id ID) Compare(other ID) int { return strings.Compare(string(id[:]), string(other[:])) }

// MarshalText writes the UUID form.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// ParseID reads a UUID of 36 characters; "" is the zero ID.
func ParseID(text string) (ID, error) {
	var id ID
	if text == "" {
		return id, nil
	}
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return ID{}, Errorf(CodeInvalid, "parse ID %.40q: want a UUID such as 8d3c1f7a-52be-4e0f-9a55-0c1d2e3f4a5b", text)
	}
	plain := text[0:8] + text[9:13] + text[14:18] + text[19:23] + text[24:36]
	if _, err := hex.Decode(id[:], []byte(plain)); err != nil {
		return ID{}, Errorf(CodeInvalid, "parse ID %q: %w", text, err)
	}
	return id, nil
}

// IDFrom makes the index-th ID out of random bytes drawn once: the same on every machine
// that is given the same seed. The bits that mark a UUID's version (4) and variant are set.
func IDFrom(seed [16]byte, index uint32) ID {
	id := ID(seed)
	for i := range 4 {
		id[12+i] ^= byte(index >> (8 * i))
	}
	// A multiplication by an odd number is a bijection: neighbouring indices differ in their leading bytes.
	lead := uint32(id[0])<<24 | uint32(id[1])<<16 | uint32(id[2])<<8 | uint32(id[3])
	lead += index * 0x9E3779B1
	id[0], id[1], id[2], id[3] = byte(lead>>24), byte(lead>>16), byte(lead>>8), byte(lead)
	return id.mark()
}

// mark sets the version and variant bits of a random UUID (RFC 9562, version 4).
func (id ID) mark() ID {
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// WithSlot is the ID with the slot of the state's allocation vector hidden in its first four bytes.
// The mapping of slots to these bytes is a bijection, so short IDs never collide among living allocations.
func (id ID) WithSlot(slot uint32) ID {
	lead := scramble(slot ^ slotMask)
	id[0], id[1], id[2], id[3] = byte(lead>>24), byte(lead>>16), byte(lead>>8), byte(lead)
	return id.mark()
}

// Slot is the slot that WithSlot put in.
func (id ID) Slot() uint32 {
	return unscramble(uint32(id[0])<<24|uint32(id[1])<<16|uint32(id[2])<<8|uint32(id[3])) ^ slotMask
}

// slotMask keeps the first slots, which most clusters never leave, from looking like nothing: scramble maps 0 to 0.
const slotMask = 0x5bd1e995

// scramble is the finaliser of MurmurHash3 (Appleby, public domain), a bijection of 32 bits;
// unscramble is its inverse.
func scramble(x uint32) uint32 {
	x ^= x >> 16
	x *= 0x85ebca6b
	x ^= x >> 13
	x *= 0xc2b2ae35
	return x ^ x>>16
}

func unscramble(x uint32) uint32 {
	x ^= x >> 16
	x *= 0x7ed1b41d // inverse of 0xc2b2ae35 modulo 2^32
	x ^= x>>13 ^ x>>26
	x *= 0xa5cb9243 // inverse of 0x85ebca6b modulo 2^32
	return x ^ x>>16
}

var _ fmt.Stringer = ID{}
