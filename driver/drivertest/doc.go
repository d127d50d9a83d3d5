// Package drivertest holds the suite that every driver must pass: Test runs real tasks and looks at them from outside.
// It is imported by tests alone.
package drivertest
