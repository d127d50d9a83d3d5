package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/pki"
)

// joinPatience is how long an agent that wants to join tries before it ends; whoever started it may start it again.
const joinPatience = time.Minute

// keepToken leaves the join token for the agent proper where nobody else sees it, and reports whether this process should
// start itself anew, so that nobody sees the token in its command line or environment either.
func keepToken(dir dataDir, source joinSource, logger *slog.Logger) (startAnew bool, err error) {
	if source.spec == "" {
		return false, nil
	}
	if link.HasIdentity(dir.identity()) {
		if foreign(dir, source) {
			logger.Warn("the join token is of another cluster and has no effect: this node belongs to one already; to join the other, start on an empty -data-dir")
		}
		return source.visible(os.Getenv), nil
	}
	text, err := source.read()
	if err != nil {
		return false, err
	}
	if _, err := link.ParseToken(text); err != nil {
		return false, err
	}
	if err := link.WriteFile(dir.joinToken(), []byte(strings.TrimSpace(text)+"\n")); err != nil {
		return false, fmt.Errorf("write join token: %w: %s", err, adviceWrite)
	}
	return source.visible(os.Getenv), nil
}

// foreign reports whether the token can be read and is of another cluster than this node is.
func foreign(dir dataDir, source joinSource) bool {
	if source.spec == "-" {
		return false // nobody may be there to type it
	}
	text, err := source.read()
	if err != nil {
		return false
	}
	token, err := link.ParseToken(text)
	if err != nil {
		return false
	}
	who, err := link.OpenIdentity(dir.identity())
	return err == nil && pki.Fingerprint(who.Authority()) != token.Authority
}

// startAnew replaces this process by the same program without its join token. It returns only if that fails.
func startAnew(executable string, args []string) error {
	environment := slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, envJoin+"=") })
	err := syscall.Exec(executable, append([]string{os.Args[0]}, withoutJoin(args)...), environment)
	return fmt.Errorf("start anew without the join token in sight: %w", err)
}

// join enters the cluster of the token that keepToken left, if this node belongs to none yet.
func (c *machineConfig) join(ctx context.Context) error {
	if link.HasIdentity(c.dir.identity()) {
		os.Remove(c.dir.joinToken()) // there is one only if this program was ended before it could remove it
		return nil
	}
	text, err := os.ReadFile(c.dir.joinToken())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read join token: %w", err)
	}
	token, err := link.ParseToken(string(text))
	if err != nil {
		return err
	}
	id, err := c.dir.nodeID()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	who, err := link.Join(ctx, link.JoinConfig{Token: token, Node: id, Name: c.agent.Name, Role: c.agent.joinRole(token.Role),
		Dir: c.dir.identity(), Dial: c.dial, Logger: c.logger})
	if err != nil && cluster.CodeOf(err) == cluster.CodeUnavailable {
		return err // the token stays for the next start
	}
	if removed := os.Remove(c.dir.joinToken()); removed != nil && err == nil {
		c.logger.Warn("the join token was used and cannot be removed", "err", removed)
	}
	if err != nil {
		return err
	}
	c.logger.Info("joined the cluster as "+string(who.Role()), "node", id)
	return nil
}

// joinRole is what this node joins as. Without a word about roles in its configuration it is what the token is for.
func (c *AgentConfig) joinRole(token pki.Role) pki.Role {
	switch {
	case c.RolesUnsaid:
		return token
	case c.Server.Enabled.On():
		return pki.RoleServer
	}
	return pki.RoleClient
}
