package cluster

import "time"

// FileEntry is a file of an allocation's directory.
type FileEntry struct {
	Name        string
	IsDir       bool
	Size        int64
	FileMode    string // such as -rw-r--r--
	ModTime     time.Time
	ContentType string `json:",omitempty"` // of regular files: what they seem to hold
}

// FileFrame is a piece of a file that is being followed. One without anything says that the stream lives.
type FileFrame struct {
	Offset    int64  `json:",omitempty"` // where the data ends in File
	Data      []byte `json:",omitempty"` // at most MaxFrameData
	File      string `json:",omitempty"` // relative to the allocation's directory; at the start and when it changes
	FileEvent string `json:",omitempty"` // FileDeleted or FileTruncated
}

// MaxFrameData is the most bytes in one FileFrame.
const MaxFrameData = 64 << 10

// What can happen to a file that is being followed.
const (
	FileDeleted   = "file deleted"
	FileTruncated = "file truncated"
)

// Heartbeat reports whether the frame says nothing but that the stream lives.
func (f FileFrame) Heartbeat() bool {
	return f.Offset == 0 && len(f.Data) == 0 && f.File == "" && f.FileEvent == ""
}
