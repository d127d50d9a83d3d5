package main

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// size prints how large the binary is, and which modules its code and data come from.
func (b *bench) size(ctx context.Context) error {
	file, err := os.Stat(b.program)
	if err != nil {
		return err
	}
	fmt.Printf("size: %.1f MB\n", mega(file.Size()))
	whole := filepath.Join(b.dir, "symbols")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", whole, "./cmd/cluster")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build with symbols: %w\n%s", err, out)
	}
	modules, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}}", "all").Output()
	if err != nil {
		return fmt.Errorf("list modules: %w", err)
	}
	return sizes(whole, strings.Fields(string(modules)))
}

// sizes prints the sums of the symbols of each module, and the sections, which hold also what has no symbol.
func sizes(program string, modules []string) error {
	f, err := elf.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		return err
	}
	sums := map[string]int64{}
	for _, s := range symbols {
		if s.Section < elf.SHN_LORESERVE && s.Section > 0 && f.Sections[s.Section].Type != elf.SHT_NOBITS {
			sums[moduleOf(s.Name, modules)] += int64(s.Size)
		}
	}
	names := make([]string, 0, len(sums))
	for name := range sums {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return int(sums[b] - sums[a]) })
	for _, name := range names[:min(16, len(names))] {
		fmt.Printf("  %7.2f MB  %s\n", mega(sums[name]), name)
	}
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS && s.Size > 1<<20 {
			fmt.Printf("  %7.2f MB  section %s\n", mega(int64(s.Size)), s.Name)
		}
	}
	return nil
}

// moduleOf is the module that a symbol belongs to: the longest module path that the symbol begins with.
func moduleOf(symbol string, modules []string) string {
	symbol = strings.TrimPrefix(strings.TrimPrefix(symbol, "type:.eq."), "go:itab.*")
	best := "standard library, runtime and type descriptions"
	longest := 0
	for _, module := range modules {
		if rest, ok := strings.CutPrefix(symbol, module); ok && len(module) > longest && (rest == "" || rest[0] == '.' || rest[0] == '/') {
			best, longest = module, len(module)
		}
	}
	return best
}
