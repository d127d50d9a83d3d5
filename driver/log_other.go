//go:build !unix

package driver

// noFollow is nothing where agents do not run.
const noFollow = 0
