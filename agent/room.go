package agent

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/shirou/gopsutil/v4/disk"

	"github.com/a43e60e4/cluster"
)

// keepJudging looks every few seconds whether the journal can be written, and says to the servers when it cannot: then
// they place nothing new here.
func (n *Node) keepJudging(ctx context.Context) {
	const interval = 3 * time.Second
	for rest(ctx, interval) {
		n.judge()
	}
}

// judge tries to write where that failed last time or where hardly any room is left; elsewhere writing shows it by itself.
func (n *Node) judge() {
	if n.self.Load().Impediment == "" && !n.scarce() {
		return
	}
	n.judged(n.journal.try())
}

// judged takes what came of an attempt to write the journal.
func (n *Node) judged(err error) {
	text := ""
	if err != nil {
		text = impediment(err)
	}
	news := false
	n.change(func(self *cluster.Node) (*cluster.Node, bool) {
		next := *self
		next.Impediment, news = text, text != self.Impediment
		return &next, news
	})
	switch {
	case !news:
	case err != nil:
		n.log.Warn("the journal cannot be written: this node takes no new work until it can; make room", "err", err)
	default:
		n.log.Info("the journal can be written again: this node takes new work")
	}
}

// impediment is the failure of a write without the file's name: alike on all nodes, so that it can be counted.
func impediment(err error) string {
	cause := err.Error()
	var number syscall.Errno
	if errors.As(err, &number) {
		cause = number.Error()
	}
	return "journal cannot be written: " + cause
}

// scarce reports whether there is less room than the journals of a few allocations need.
func (n *Node) scarce() bool {
	const least = 1 << 20
	use, err := disk.Usage(n.journal.dir)
	return err == nil && (use.Free < least || use.InodesTotal > 0 && use.InodesFree == 0)
}
