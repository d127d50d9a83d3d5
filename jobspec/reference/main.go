// Command reference writes the pages of the manual that follow from the types of the job language: docs/job-specification.md
// and docs/not-yet.md. Run it by `go generate` in the root of the project.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	pages, err := generate(".")
	for name, text := range pages {
		if err == nil {
			err = os.WriteFile(name, text, 0o644)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "write the reference:", err)
		os.Exit(1)
	}
}

// generate makes the pages of the project in the folder, by their paths.
func generate(root string) (map[string][]byte, error) {
	comments, err := readComments(root)
	if err != nil {
		return nil, err
	}
	prose, err := os.ReadFile(filepath.Join(root, "jobspec", "reference", "page.md"))
	if err != nil {
		return nil, err
	}
	w := &writer{comments: comments}
	return map[string][]byte{
		filepath.Join(root, "docs", "job-specification.md"): w.language(string(prose)),
		filepath.Join(root, "docs", "not-yet.md"):           w.missing(),
	}, nil
}
