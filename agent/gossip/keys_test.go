package gossip

import (
	"bytes"
	"sync"
	"testing"

	"github.com/hashicorp/memberlist"
	"pgregory.net/rapid"
)

// Others read the keys while they change; the race detector looks on.
func TestRekeyGivesExactlyTheKeys(t *testing.T) {
	all := [][]byte{}
	for i := range 5 {
		all = append(all, bytes.Repeat([]byte{byte(i)}, keySize))
	}
	rapid.Check(t, func(t *rapid.T) {
		ring, err := memberlist.NewKeyring(nil, all[0])
		if err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		var readers sync.WaitGroup
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					for _, k := range ring.GetKeys() {
						if len(k) != keySize || k[0] != k[keySize-1] {
							t.Errorf("a torn key %x", k)
						}
					}
				}
			}
		})
		defer readers.Wait()
		defer close(stop)
		for range 5 {
			keys := rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, 4, func(k []byte) byte { return k[0] }).Draw(t, "keys")
			if err := setKeys(ring, keys); err != nil {
				t.Fatal(err)
			}
			held := ring.GetKeys()
			if len(held) != len(keys) || !bytes.Equal(held[0], keys[0]) {
				t.Fatalf("holds %x, want %x", held, keys)
			}
			for _, k := range keys {
				if !bytes.Contains(bytes.Join(held, nil), k) {
					t.Fatalf("lacks %x", k)
				}
			}
		}
	})
}
