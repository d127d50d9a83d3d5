package gossip

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/hashicorp/memberlist"
)

const (
	keySize = 32 // AES-256
	maxKeys = 8
)

func checkKeys(keys [][]byte) error {
	if len(keys) == 0 || len(keys) > maxKeys {
		return fmt.Errorf("check gossip keys: have %d, want 1 to %d", len(keys), maxKeys)
	}
	for i, k := range keys {
		if len(k) != keySize {
			return fmt.Errorf("check gossip keys: key %d has %d bytes, want %d", i+1, len(k), keySize)
		}
	}
	return nil
}

// Rekey replaces the keys of the gossip: the first encrypts, all decrypt. To rotate without losing anybody, every node
// first gets the old and the new one, then the new and the old one, then the new one alone. It may be called at any
// time, concurrently too.
func (g *Gossip) Rekey(keys [][]byte) error {
	if err := checkKeys(keys); err != nil {
		return err
	}
	g.rekey.Lock()
	defer g.rekey.Unlock()
	return setKeys(g.ring, keys)
}

// setKeys makes the ring hold exactly these keys. The ring removes a key by moving those behind it within a slice that
// others read meanwhile, so only the last key is ever removed; what is behind an unwanted one first moves to the front.
func setKeys(ring *memberlist.Keyring, keys [][]byte) error {
	for _, k := range keys {
		if err := ring.AddKey(bytes.Clone(k)); err != nil {
			return err
		}
	}
	wanted := func(k []byte) bool {
		return slices.ContainsFunc(keys, func(w []byte) bool { return bytes.Equal(w, k) })
	}
	if err := ring.UseKey(keys[0]); err != nil {
		return err
	}
	for {
		held := ring.GetKeys()
		last := len(held) - 1
		for last >= 0 && wanted(held[last]) {
			last--
		}
		if last < 0 {
			return ring.UseKey(keys[0])
		}
		for _, k := range held[last+1:] {
			if err := ring.UseKey(k); err != nil {
				return err
			}
		}
		if err := ring.RemoveKey(held[last]); err != nil {
			return err
		}
	}
}
