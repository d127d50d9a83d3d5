//go:build !unix

package agent

import "errors"

const nonBlocking = 0

var errNotDir = errors.New("not a directory")
