package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// Keyring is the keys of the gossip as the servers keep them: the first encrypts, all decrypt. It is replaced, never
// modified. A rotation passes through three keyrings: the old key and the new one, the new one and the old one, the new
// one alone; each begins when every living node holds the one before.
type Keyring struct {
	Version uint64   // grows with each change
	Keys    [][]byte // 32 bytes each, secret
	Spread  bool     // the last key is to become the first
}

// KeyringKeySize is the length of a key in bytes, for AES-256.
const KeyringKeySize = 32

// Rotate is the keyring that begins a rotation to a new key; not ok while another one is under way.
func (k Keyring) Rotate(key []byte) (next Keyring, ok bool) {
	if len(k.Keys) != 1 {
		return k, false
	}
	return Keyring{Version: k.Version + 1, Keys: [][]byte{k.Keys[0], bytes.Clone(key)}, Spread: true}, true
}

// Next is the keyring that comes after this one, now that every living node holds this one; not ok if it is the last.
func (k Keyring) Next() (next Keyring, ok bool) {
	switch {
	case len(k.Keys) < 2:
		return k, false
	case k.Spread:
		last := len(k.Keys) - 1
		keys := append([][]byte{k.Keys[last]}, k.Keys[:last]...)
		return Keyring{Version: k.Version + 1, Keys: keys}, true
	}
	return Keyring{Version: k.Version + 1, Keys: slices.Clone(k.Keys[:1])}, true
}

// Valid reports whether the keyring can be used.
func (k Keyring) Valid() bool {
	return k.Version > 0 && len(k.Keys) > 0 && len(k.Keys) <= 2 &&
		!slices.ContainsFunc(k.Keys, func(key []byte) bool { return len(key) != KeyringKeySize })
}

// KeyName is what a key is called where people see it: the key does not follow from it.
func KeyName(key []byte) string {
	sum := sha256.Sum256(append([]byte("cluster gossip key "), key...))
	return hex.EncodeToString(sum[:6])
}
