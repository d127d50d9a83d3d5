package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
)

func save(t testing.TB, s *Store) *bytes.Buffer {
	t.Helper()
	var saved bytes.Buffer
	if err := s.Snapshot().Persist(&saved); err != nil {
		t.Fatal(err)
	}
	return &saved
}

func restored(t testing.TB, s *Store) *Store {
	t.Helper()
	next := New()
	if err := next.Restore(save(t, s)); err != nil {
		t.Fatal(err)
	}
	return next
}

func TestARestoredStoreIsTheSameAndSharesAgain(t *testing.T) {
	s, ids := running(t)
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning, TaskStates: ended(3), Passing: 1})
	s.do(&DeleteNode{ID: id(2)})
	next := restored(t, s.Store)
	if a, b := dump(t, s.Snapshot()), dump(t, next.Snapshot()); a != b {
		t.Fatalf("saved\n%s\nrestored\n%s", a, b)
	}
	sn := next.Snapshot()
	a, b := sn.Alloc(ids[0]), sn.Alloc(ids[1])
	if a.Job != b.Job || a.Job != sn.job("default", "web").versions[0].spec || b.NodeName != "node" || sn.Node(id(2)) != nil {
		t.Fatal("what was shared is not")
	}
	if a.Task("server").Events[0].Details.ExitCode != 3 {
		t.Fatalf("task: %+v", a.TaskStates)
	}
}

func TestADamagedSavedStateIsRefusedAndChangesNothing(t *testing.T) {
	s, _ := running(t)
	saved := save(t, s.Store).Bytes()
	before := dump(t, s.Snapshot())
	for cut := range len(saved) {
		if err := s.Restore(bytes.NewReader(saved[:cut])); err == nil {
			t.Fatalf("the first %d bytes of %d are taken for the whole", cut, len(saved))
		}
	}
	for i := range saved {
		damaged := bytes.Clone(saved)
		damaged[i] ^= 0x10
		if err := s.Restore(bytes.NewReader(damaged)); err == nil {
			t.Fatalf("damage in byte %d of %d goes unnoticed", i, len(saved))
		}
	}
	if dump(t, s.Snapshot()) != before {
		t.Fatal("a refused restore changed the state")
	}
}

func TestANewerSavedStateIsRefusedInWords(t *testing.T) {
	saved := save(t, New()).Bytes()
	saved[len(magic)] = formatVersion + 1
	err := New().Restore(bytes.NewReader(saved))
	const want = "restore state: its format has version 4, this release knows up to 3: written by a newer release: upgrade this server"
	if !errors.Is(err, ErrNewer) || err.Error() != want {
		t.Fatalf("got %v", err)
	}
	err = New().Restore(strings.NewReader("PK garbage"))
	if err == nil || err.Error() != "restore state: this is not a saved state" {
		t.Fatalf("got %v", err)
	}
}

// frames takes a saved state apart and puts it together again with true checksums, so that fuzzing gets behind them.
func reframe(saved []byte) []byte {
	if len(saved) < len(magic)+1 {
		return saved
	}
	out := append([]byte(nil), saved[:len(magic)+1]...)
	rest := saved[len(magic)+1:]
	for len(rest) > 1 {
		length, n := binary.Uvarint(rest[1:])
		if n <= 0 || length > uint64(len(rest)-1-n) {
			break
		}
		body := rest[1+n : 1+n+int(length)]
		out = append(out, rest[:1+n+int(length)]...)
		sum := crc32.Update(crc32.Checksum(rest[:1], castagnoli), castagnoli, body)
		out = binary.LittleEndian.AppendUint32(out, sum)
		rest = rest[1+n+int(length):]
		rest = rest[min(4, len(rest)):]
	}
	return out
}

func FuzzRestore(f *testing.F) {
	s, ids := running(f)
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning, TaskStates: ended(3), Passing: 1})
	f.Add(save(f, s.Store).Bytes())
	f.Add(save(f, New()).Bytes())
	s.do(&ScaleJob{At: s.now, Namespace: "default", ID: "web", Group: "web", JobModifyIndex: s.Snapshot().Job("default", "web").JobModifyIndex,
		Event: cluster.ScalingEvent{Count: new(int64(2)), Message: "more", Meta: map[string]any{"by": 1.5}}})
	f.Add(save(f, s.Store).Bytes())
	f.Fuzz(func(t *testing.T, saved []byte) {
		next := New()
		if err := next.Restore(bytes.NewReader(reframe(saved))); err != nil {
			return
		}
		again := restored(t, next)
		if a, b := dump(t, next.Snapshot()), dump(t, again.Snapshot()); a != b {
			t.Fatalf("saved again it is another state:\n%s\n%s", a, b)
		}
	})
}
