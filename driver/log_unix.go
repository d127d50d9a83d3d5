//go:build unix

package driver

import "syscall"

const noFollow = syscall.O_NOFOLLOW
