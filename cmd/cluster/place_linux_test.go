package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestACopyIsInAnotherPlace(t *testing.T) {
	dir := t.TempDir()
	original, twin := filepath.Join(dir, "node-id"), filepath.Join(dir, "twin")
	for _, file := range []string{original, twin} {
		if err := os.WriteFile(file, []byte("the same\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	place := func(file string) string {
		t.Helper()
		text, err := placeOf(file)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	first := place(original)
	if first == place(twin) {
		t.Error("the copy has the place of the original")
	}
	if err := os.Rename(original, original+".old"); err != nil {
		t.Fatal(err)
	}
	if place(original+".old") != first {
		t.Error("the name of the file matters")
	}
	if _, err := placeOf(original); err == nil {
		t.Error("a file that is not there has a place")
	}
}

func TestTheDirectoryRemembersItsPlace(t *testing.T) {
	dir, err := openDataDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if was := dir.residence(); was != (residence{}) {
		t.Errorf("a new directory remembers %+v", was)
	}
	here := residence{Place: "here", Moved: 7}
	if err := dir.settle(here); err != nil {
		t.Fatal(err)
	}
	if was := dir.residence(); was != here {
		t.Errorf("it remembers %+v", was)
	}
	if err := os.WriteFile(dir.placeFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if was := dir.residence(); was != (residence{}) {
		t.Errorf("of a damaged file it remembers %+v", was)
	}
	if err := os.Remove(dir.placeFile()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir.placeFile(), 0o700); err != nil {
		t.Fatal(err)
	}
	if was := dir.residence(); was != (residence{}) {
		t.Errorf("of a directory in place of the file it remembers %+v", was)
	}
}

func TestAPlaceThatChangedIsRemembered(t *testing.T) {
	now := time.Unix(1000, 0)
	first, moved := residence{}.at("here", now)
	if moved || first != (residence{Place: "here"}) {
		t.Errorf("a new directory: %+v, moved %v", first, moved)
	}
	if again, moved := first.at("here", now.Add(time.Hour)); moved || again != first {
		t.Errorf("a restart: %+v, moved %v", again, moved)
	}
	second, moved := first.at("there", now)
	if !moved || second != (residence{"there", now.UnixNano()}) {
		t.Errorf("a copy: %+v, moved %v", second, moved)
	}
	third, moved := second.at("elsewhere", now.Add(-time.Hour))
	if !moved || third.Moved <= second.Moved {
		t.Errorf("the copy of a copy, on a machine whose clock is behind: %+v, moved %v", third, moved)
	}
}
