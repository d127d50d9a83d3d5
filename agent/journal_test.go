package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

func TestTheJournalGivesBackWhatItWasGiven(t *testing.T) {
	j, err := openJournal(filepath.Join(t.TempDir(), "allocs"))
	if err != nil {
		t.Fatal(err)
	}
	a := testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) {
		j.TaskGroups[0].Tasks[0].Config = map[string]any{"command": "x", "args": []any{"1", 2.5, true}}
	}, "web", "side")
	r := newRecord(a, "boot", 5).begun(0, 6).started(0, 7).endingBegun(0, reasonStop, 9, 8).settle(8)
	r = r.exited(0, driver.Exit{Code: 1, Signal: 2, OOMKilled: true, Message: "m"}, moment{Now: 10}).checked("c", cluster.CheckSuccess)
	for _, sync := range []bool{false, true} {
		if err := j.save(r, sync); err != nil {
			t.Fatal(err)
		}
		got, problems, err := j.load()
		if err != nil || len(problems) > 0 || len(got) != 1 {
			t.Fatal(got, problems, err)
		}
		got[0].Alloc.Rare, r.Alloc.Rare = nil, nil
		if !reflect.DeepEqual(got[0], r) {
			t.Errorf("got  %+v\nwant %+v", got[0], r)
		}
	}
	if info, err := os.Stat(j.path(a.ID)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := errors.Join(j.remove(a.ID), j.remove(a.ID)); err != nil {
		t.Error(err)
	}
	if got, _, _ := j.load(); len(got) != 0 {
		t.Errorf("removed, but %v", got)
	}
}

func TestBadJournalsAreSetAside(t *testing.T) {
	dir := t.TempDir()
	j, err := openJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	good := newRecord(testAlloc(1, cluster.JobTypeService, nil, "web"), "boot", 5)
	if err := j.save(good, false); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(j.path(good.Alloc.ID))
	other := cluster.ID{2, 15: 2}
	for name, content := range map[string]string{
		cluster.ID{3}.String() + ".json": "{}", cluster.ID{4}.String() + ".json": "garbage", cluster.ID{5}.String() + ".json": "",
		other.String() + ".json": string(text), cluster.ID{6}.String() + ".json.tmp": "half",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, problems, err := j.load()
	if err != nil || len(got) != 1 || len(problems) != 4 {
		t.Fatalf("%d records, problems %v, %v", len(got), problems, err)
	}
	if _, err := os.Stat(j.path(other) + ".bad"); err != nil {
		t.Error(err)
	}
	if got, problems, err := j.load(); err != nil || len(got) != 1 || len(problems) != 0 {
		t.Errorf("again: %d records, %v, %v", len(got), problems, err)
	}
	newer := bytes.Replace(text, []byte(`"Version":1`), []byte(`"Version":2`), 1)
	if err := os.WriteFile(j.path(good.Alloc.ID), newer, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := j.load(); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("a newer version: %v", err)
	}
}

func TestANodeKeepsItsID(t *testing.T) {
	w := newWorld(t)
	open := func() (*Node, error) {
		return Open(Config{Dir: w.dir + "/client", AllocDir: w.dir + "/alloc", Control: &incarnation{world: w}})
	}
	first, err := open()
	if err != nil {
		t.Fatal(err)
	}
	second, err := open()
	if err != nil || first.ID() != second.ID() || first.ID().IsZero() {
		t.Errorf("%v, %v, %v", first.ID(), second.ID(), err)
	}
	if info, err := os.Stat(idFile(w.dir + "/client")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if info, err := os.Stat(w.dir + "/client"); err != nil || info.Mode().Perm() != 0o700 {
		t.Error(info, err)
	}
	os.WriteFile(idFile(w.dir+"/client"), []byte("nonsense"), 0o600)
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "restore the file") {
		t.Errorf("a spoiled ID: %v", err)
	}
}

// TestAFullDisk: nothing is started that is not on record, nothing new is asked for, and the reason is where people look.
func TestAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start(0)
		defer n.stop()
		sleep(time.Second)
		w.full.Store(true)
		a := w.change(testAlloc(1, cluster.JobTypeService, nil, "web"), nil)
		sleep(20 * time.Second)
		const impediment = "journal cannot be written: no space left on device"
		web := taskOf(t, w.alloc(a.ID), "web")
		if len(w.begun()) != 0 || diary(web) != "Received, Setup Failure" || web.Failed {
			t.Fatalf("starts %v, %s", w.begun(), diary(web))
		}
		if said := web.Events[1].DisplayMessage(); said != impediment+": the task is not started until it can" {
			t.Errorf("the task's diary says %q", said)
		}
		if all := w.registrations(); all[len(all)-1].Impediment != impediment {
			t.Errorf("the node says %q", all[len(all)-1].Impediment)
		}
		w.full.Store(false)
		sleep(5 * time.Second)
		if web := taskOf(t, w.alloc(a.ID), "web"); len(w.running()) != 1 || web.Restarts != 0 {
			t.Errorf("running %v, %s", w.running(), diary(web))
		}
		if all := w.registrations(); len(all) != 3 || all[2].Impediment != "" {
			t.Errorf("the node registered %d times, and says at last %q", len(all), all[len(all)-1].Impediment)
		}
	})
}

// TestTheLeaseDoesNotWaitForNews: servers that cannot store what a node says of itself still hear that it lives.
func TestTheLeaseDoesNotWaitForNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start(0)
		defer n.stop()
		sleep(time.Second)
		w.fail("register", 1000)
		w.full.Store(true)
		n.node.judged(errors.New("no space left on device"))
		beats := func() int {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.beats
		}
		before := beats()
		sleep(time.Minute)
		if later := beats(); later-before < 30 || len(w.registrations()) != 1 {
			t.Errorf("%d beats in a minute, %d registrations", later-before, len(w.registrations()))
		}
		w.full.Store(false)
		w.fail("register", 0)
		sleep(10 * time.Second)
		if all := w.registrations(); all[len(all)-1].Impediment != "" {
			t.Errorf("the servers are left with %q", all[len(all)-1].Impediment)
		}
	})
}

func FuzzJournal(f *testing.F) {
	r := newRecord(testAlloc(1, cluster.JobTypeService, nil, "web", "side"), "boot", 5).begun(0, 6).started(0, 7)
	text, err := json.Marshal(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"Version":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := decodeRecord(text)
		if err != nil {
			return
		}
		// Whatever was read, everything that is done with a record at the start can be done with it.
		r = r.rebooted("another", 9).settle(10)
		r, _ = r.decideHealth(true, 10)
		have := life{record: r, Flights: make([]flight, len(r.Tasks)), Now: 11}
		for _, w := range []want{{}, {Stop: true}} {
			if s := next(w, have); s.Task < 0 || s.Task >= max(len(r.Tasks), 1) {
				t.Errorf("step for task %d of %d", s.Task, len(r.Tasks))
			}
		}
		r.update()
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
	})
}
