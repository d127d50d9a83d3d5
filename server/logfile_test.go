package server

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// writeLog makes a log's file with a tree of several levels and returns its bytes.
func writeLog(t *testing.T, path string) []byte {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoFreelistSync: true, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range []string{"logs", "conf"} {
			bucket, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			for i := range 2000 {
				if err := bucket.Put(binary.BigEndian.AppendUint64(nil, uint64(i)), make([]byte, i%97*101)); err != nil {
					return err
				}
			}
		}
		_, err := tx.CreateBucket([]byte("small"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestCheckLog damages a log in every way that bbolt would end the process for.
func TestCheckLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	if err := checkLog(path); err != nil {
		t.Errorf("a log that is not there: %v", err)
	}
	if err := os.Mkdir(filepath.Join(filepath.Dir(path), "snapshots"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := checkLog(path); err == nil {
		t.Error("a log that was lost may be begun again")
	}
	whole := writeLog(t, path)
	if err := checkLog(path); err != nil {
		t.Errorf("a whole log: %v", err)
	}
	page := os.Getpagesize()
	for name, damage := range map[string]struct {
		apply func([]byte) []byte
		want  string
	}{
		"empty":         {func([]byte) []byte { return nil }, ""},
		"garbage":       {func([]byte) []byte { return []byte("garbage") }, "it has no valid header"},
		"first header":  {func(b []byte) []byte { b[pageHeader] ^= 1; return b }, ""}, // the second says the same or less
		"both headers":  {func(b []byte) []byte { clear(b[:2*page]); return b }, "it has no valid header"},
		"cut":           {func(b []byte) []byte { return b[:len(b)/8] }, "the file is cut short: it has"},
		"zeros":         {func(b []byte) []byte { clear(b[2*page:]); return b }, "is overwritten"},
		"wrong numbers": {func(b []byte) []byte { b = append(b, b[:page]...); copy(b[2*page:], b[3*page:]); return b }, "is overwritten"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "raft.db")
			if err := os.WriteFile(path, damage.apply(append([]byte{}, whole...)), 0o600); err != nil {
				t.Fatal(err)
			}
			err := checkLog(path)
			if got := fmt.Sprint(err); damage.want == "" && err != nil || damage.want != "" && !strings.Contains(got, damage.want) {
				t.Errorf("it says %q, want %q", got, damage.want)
			}
		})
	}
}

// FuzzCheckLog overwrites parts of a log: whatever is there, the check ends, and never by a fault.
func FuzzCheckLog(f *testing.F) {
	f.Add(uint32(40), []byte{1})
	f.Add(uint32(8200), []byte("garbage"))
	f.Fuzz(func(t *testing.T, at uint32, garbage []byte) {
		path := filepath.Join(t.TempDir(), "raft.db")
		text := writeLog(t, path)
		copy(text[int(at)%len(text):], garbage)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		_ = checkLog(path)
	})
}
