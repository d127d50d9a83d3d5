// Package e2e tries the real program on the real machine: scripts in testdata start agents, run job files, kill what
// can be killed, and look at what is left. scripts_test.go says which commands the scripts have. The scripts in
// testdata/machines are about several machines, which are network namespaces: machines_test.go has their commands.
package e2e
