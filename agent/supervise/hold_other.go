//go:build !linux

package supervise

import "context"

type holder struct{}

func (*holder) hold(string, string) {}
func (*holder) release(string)      {}

// Linger returns at once: there is no supervisor here.
func (c *Client) Linger(context.Context) {}
