package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The layout of a bbolt file, version 2, in the byte order of the machine: pages with a header of 16 bytes (its own
// number, flags, how many elements, how many further pages it spans), the first two of them metas.
const (
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	pageHeader   = 16
	elementSize  = 16
	branchPage   = 0x01
	leafPage     = 0x02
	bucketLeaf   = 0x01
	smallestPage = 1 << 9
	largestPage  = 1 << 16
	metaSize     = 64      // of which the last 8 are the checksum of the others
	maxSpan      = 1 << 16 // pages of one element
)

// logFile is a log's file, being looked at.
type logFile struct {
	io.ReaderAt
	pageSize int64
	pages    uint64 // numbers of pages are below this
	root     uint64
	seen     map[uint64]bool
}

// checkLog reports whether the structure of a log's file is whole, or not there because no log was begun. bbolt trusts its
// file and reads it as memory: one that was cut short or overwritten would end the process with a fault that cannot be
// caught. It costs as much as bbolt's own walk over the pages at every start.
func checkLog(path string) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return checkAbsence(path)
	}
	if err != nil {
		return err
	}
	defer file.Close()
	about, err := file.Stat()
	if err != nil {
		return err
	}
	if about.Size() == 0 {
		return checkAbsence(path)
	}
	f := &logFile{ReaderAt: file, seen: map[uint64]bool{}}
	if err := f.readMeta(); err != nil {
		return err
	}
	if want := int64(f.pages) * f.pageSize; about.Size() < want {
		return fmt.Errorf("the file is cut short: it has %d of at least %d bytes", about.Size(), want)
	}
	return f.checkPage(f.root)
}

// checkAbsence reports whether a log may be missing: the folder of its snapshots is made after it, and stays.
func checkAbsence(path string) error {
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "snapshots")); err == nil {
		return errors.New("it is missing or empty, though this node was in a cluster")
	}
	return nil
}

// readMeta takes what bbolt would: the newer of the metas that are whole.
func (f *logFile) readMeta() error {
	var newest uint64
	try := func(at int64) {
		page := make([]byte, pageHeader+metaSize)
		if _, err := f.ReadAt(page, at); err != nil {
			return
		}
		meta := page[pageHeader:]
		sum := fnv.New64a()
		sum.Write(meta[:metaSize-8])
		size := int64(binary.NativeEndian.Uint32(meta[8:]))
		whole := binary.NativeEndian.Uint32(meta) == boltMagic && binary.NativeEndian.Uint32(meta[4:]) == boltVersion &&
			binary.NativeEndian.Uint64(meta[metaSize-8:]) == sum.Sum64() && size >= smallestPage && size <= largestPage
		if txid := binary.NativeEndian.Uint64(meta[48:]); whole && (f.pageSize == 0 || txid > newest) {
			f.pageSize, newest = size, txid
			f.root, f.pages = binary.NativeEndian.Uint64(meta[16:]), binary.NativeEndian.Uint64(meta[40:])
		}
	}
	try(0)
	for size := int64(smallestPage); size <= largestPage; size *= 2 { // the second stands behind a page of unknown size
		try(size)
	}
	if f.pageSize == 0 {
		return errors.New("it has no valid header")
	}
	if f.pages > 1<<40 {
		return fmt.Errorf("its header counts %d pages", f.pages)
	}
	return nil
}

// checkPage looks at a page and at all below it.
func (f *logFile) checkPage(number uint64) error {
	if number < 2 || number >= f.pages || f.seen[number] {
		return fmt.Errorf("page %d is referred to, which cannot be", number)
	}
	f.seen[number] = true
	header := make([]byte, pageHeader)
	if _, err := f.ReadAt(header, int64(number)*f.pageSize); err != nil {
		return err
	}
	id, flags := binary.NativeEndian.Uint64(header), binary.NativeEndian.Uint16(header[8:])
	count, more := binary.NativeEndian.Uint16(header[10:]), uint64(binary.NativeEndian.Uint32(header[12:]))
	if id != number || (flags != branchPage && flags != leafPage) || more > maxSpan || number+more >= f.pages {
		return fmt.Errorf("page %d is overwritten", number)
	}
	page := make([]byte, int64(more+1)*f.pageSize)
	if _, err := f.ReadAt(page, int64(number)*f.pageSize); err != nil {
		return err
	}
	if pageHeader+int(count)*elementSize > len(page) {
		return fmt.Errorf("page %d is overwritten", number)
	}
	for i := range int(count) {
		at := pageHeader + i*elementSize
		below, err := f.element(page, at, flags)
		if err != nil {
			return fmt.Errorf("page %d is overwritten: %w", number, err)
		}
		if below != 0 {
			if err := f.checkPage(below); err != nil {
				return err
			}
		}
	}
	return nil
}

// element checks one entry of a page and returns the page that it leads to, 0 for none.
func (f *logFile) element(page []byte, at int, flags uint16) (below uint64, err error) {
	element := page[at:]
	if flags == branchPage {
		position, key := binary.NativeEndian.Uint32(element), binary.NativeEndian.Uint32(element[4:])
		if uint64(at)+uint64(position)+uint64(key) > uint64(len(page)) {
			return 0, errors.New("a key lies outside of it")
		}
		return binary.NativeEndian.Uint64(element[8:]), nil
	}
	position, key, value := binary.NativeEndian.Uint32(element[4:]), binary.NativeEndian.Uint32(element[8:]), binary.NativeEndian.Uint32(element[12:])
	from := uint64(at) + uint64(position) + uint64(key)
	if from+uint64(value) > uint64(len(page)) {
		return 0, errors.New("a value lies outside of it")
	}
	if binary.NativeEndian.Uint32(element)&bucketLeaf == 0 || value < 16 {
		return 0, nil
	}
	return binary.NativeEndian.Uint64(page[from:]), nil // 0 where the bucket is so small that it lies here
}
