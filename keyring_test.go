package cluster

import (
	"bytes"
	"testing"
)

func TestKeysAreRotatedInThreeSteps(t *testing.T) {
	a, b := bytes.Repeat([]byte{1}, KeyringKeySize), bytes.Repeat([]byte{2}, KeyringKeySize)
	ring := Keyring{Version: 7, Keys: [][]byte{a}}
	if _, ok := ring.Next(); ok {
		t.Error("a keyring at rest goes on")
	}
	ring, ok := ring.Rotate(b)
	if _, again := ring.Rotate(a); !ok || again {
		t.Errorf("rotated %v, again %v", ok, again)
	}
	var told string
	for ; ok; ring, ok = ring.Next() {
		if !ring.Valid() {
			t.Errorf("%+v is not valid", ring)
		}
		for _, k := range ring.Keys {
			told += string('a' + rune(k[0]) - 1)
		}
		told += " "
	}
	if told != "ab ba b " || ring.Version != 10 {
		t.Errorf("the rotation went %q to version %d", told, ring.Version)
	}
	for _, bad := range []Keyring{{}, {Version: 1}, {Keys: [][]byte{a}}, {Version: 1, Keys: [][]byte{a[:31]}}, {Version: 1, Keys: [][]byte{a, b, a}}} {
		if bad.Valid() {
			t.Errorf("%+v is valid", bad)
		}
	}
}
