package agent

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/a43e60e4/cluster"
)

// tree gives people sight of an allocation's directory. Tasks write there, so nothing in it is trusted: links are
// followed by us, step by step, never out of the directory and never into what is secret.
type tree string

// spot is a file that was found: what it is, and the directory that it is in. The directory must be closed.
type spot struct {
	dir  *os.Root
	base string // in dir; "." for dir itself
	path string // from the root, without links
	info fs.FileInfo
}

// maxLinks bounds how many links one path may lead over.
const maxLinks = 40

// find walks to a file. A path is taken from the root of the tree, whether it begins with a slash or not.
func (t tree) find(name string) (spot, error) {
	parts := split(name)
	for range maxLinks {
		found, onward, err := t.walk(name, parts)
		if err != nil || onward == nil {
			return found, err
		}
		parts = onward
	}
	return spot{}, cluster.Errorf(cluster.CodeInvalid, "open %q: it leads over more than %d links", name, maxLinks)
}

// split cuts a path into its parts; ".." at the root stays there.
func split(name string) []string {
	name = strings.Trim(path.Clean("/"+name), "/")
	if name == "" {
		return []string{}
	}
	return strings.Split(name, "/")
}

// walk goes down the parts until one is a link: then it returns the parts to walk instead.
func (t tree) walk(name string, parts []string) (found spot, onward []string, err error) {
	dir, err := os.OpenRoot(string(t))
	if err != nil {
		return spot{}, nil, fileError(name, err)
	}
	defer func() {
		if err != nil || onward != nil {
			dir.Close()
		}
	}()
	found = spot{base: ".", path: strings.Join(parts, "/")}
	for i, part := range parts {
		if secret(parts[:i+1]) {
			return spot{}, nil, cluster.Errorf(cluster.CodeForbidden, "open %q: the secrets of tasks cannot be read", name)
		}
		info, err := dir.Lstat(part)
		if err != nil {
			return spot{}, nil, fileError(name, err)
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err := dir.Readlink(part)
			if err != nil {
				return spot{}, nil, fileError(name, err)
			}
			if path.IsAbs(target) {
				return spot{}, nil, cluster.Errorf(cluster.CodeForbidden, "open %q: it is a link out of the allocation's directory", name)
			}
			return spot{}, append(split(path.Join(path.Join(parts[:i]...), target)), parts[i+1:]...), nil
		}
		if i == len(parts)-1 {
			found.dir, found.base, found.info = dir, part, info
			return found, nil, nil
		}
		if !info.IsDir() {
			return spot{}, nil, fileError(name, fs.ErrNotExist)
		}
		below, err := enter(dir, part, info)
		if err != nil {
			return spot{}, nil, fileError(name, err)
		}
		dir.Close()
		dir = below
	}
	found.dir = dir
	found.info, err = dir.Stat(".")
	return found, nil, err
}

// enter opens the directory that info was taken of: what was put in its place meanwhile is refused.
func enter(dir *os.Root, part string, info fs.FileInfo) (*os.Root, error) {
	below, err := dir.OpenRoot(part)
	if err != nil {
		return nil, err
	}
	if now, err := below.Stat("."); err != nil || !os.SameFile(now, info) {
		below.Close()
		return nil, fs.ErrNotExist
	}
	return below, nil
}

// secret reports whether the path is, or leads into, what only the task may see.
func secret(parts []string) bool {
	return len(parts) > 1 && parts[0] != "alloc" && (parts[1] == "secrets" || parts[1] == "private")
}

// open opens what was found for reading, if it is a regular file.
func (s spot) open() (*os.File, error) {
	if !s.info.Mode().IsRegular() {
		return nil, cluster.Errorf(cluster.CodeInvalid, "open %q: it is not a regular file", s.path)
	}
	file, err := s.dir.OpenFile(s.base, os.O_RDONLY|nonBlocking, 0)
	if err != nil {
		return nil, fileError(s.path, err)
	}
	if now, err := file.Stat(); err != nil || !os.SameFile(now, s.info) {
		file.Close()
		return nil, fileError(s.path, fs.ErrNotExist)
	}
	return file, nil
}

// open finds and opens a regular file, and says where it is without links.
func (t tree) open(name string) (*os.File, string, error) {
	found, err := t.find(name)
	if err != nil {
		return nil, "", err
	}
	defer found.dir.Close()
	file, err := found.open()
	return file, found.path, err
}

// stat describes one file.
func (t tree) stat(name string) (cluster.FileEntry, error) {
	found, err := t.find(name)
	if err != nil {
		return cluster.FileEntry{}, err
	}
	defer found.dir.Close()
	return entryOf(found), nil
}

// list describes the files of a directory, sorted by name. Of links it describes the link.
func (t tree) list(name string) ([]cluster.FileEntry, error) {
	found, err := t.find(name)
	if err != nil {
		return nil, err
	}
	defer found.dir.Close()
	if !found.info.IsDir() {
		return nil, cluster.Errorf(cluster.CodeInvalid, "list %q: it is not a directory", name)
	}
	dir, err := enter(found.dir, found.base, found.info)
	if err != nil {
		return nil, fileError(name, err)
	}
	defer dir.Close()
	names, err := readDir(dir)
	if err != nil {
		return nil, fileError(name, err)
	}
	all := make([]cluster.FileEntry, 0, len(names))
	for _, base := range names {
		info, err := dir.Lstat(base)
		if err != nil {
			continue // it is gone
		}
		all = append(all, entryOf(spot{dir: dir, base: base, path: path.Join(found.path, base), info: info}))
	}
	slices.SortFunc(all, func(a, b cluster.FileEntry) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func readDir(dir *os.Root) ([]string, error) {
	file, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return file.Readdirnames(-1)
}

func entryOf(s spot) cluster.FileEntry {
	name := path.Base("/" + s.path)
	return cluster.FileEntry{Name: name, IsDir: s.info.IsDir(), Size: s.info.Size(), FileMode: s.info.Mode().String(),
		ModTime: s.info.ModTime(), ContentType: s.contentType()}
}

// contentType is what the file seems to hold, "" if it is not a regular file.
func (s spot) contentType() string {
	if !s.info.Mode().IsRegular() {
		return ""
	}
	if known := mime.TypeByExtension(path.Ext(s.base)); known != "" {
		return known
	}
	file, err := s.open()
	if err != nil {
		return "application/octet-stream"
	}
	defer file.Close()
	head := make([]byte, 512)
	n, _ := io.ReadFull(file, head)
	return http.DetectContentType(head[:n])
}

// fileError says of an error of the file system what a person needs to know.
func fileError(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return cluster.Errorf(cluster.CodeNotFound, "open %q: there is no such file in the allocation's directory", name)
	}
	return cluster.Errorf(cluster.CodeInternal, "open %q: %w", name, err)
}
