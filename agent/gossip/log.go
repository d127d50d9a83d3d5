package gossip

import (
	"bytes"
	"context"
	"log"
	"log/slog"
)

// librarian passes what memberlist says on as debug messages: what matters of it to people, this package says itself.
type librarian struct{ log *slog.Logger }

func (l librarian) Write(line []byte) (int, error) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug(string(bytes.TrimSpace(line)))
	}
	return len(line), nil
}

func libraryLogger(to *slog.Logger) *log.Logger { return log.New(librarian{to}, "", 0) }
