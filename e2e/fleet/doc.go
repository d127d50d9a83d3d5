// Package fleet runs the real program on several machines of a lan.LAN: an agent on each, all in one cluster, and what a
// test or a measurement asks and does to them.
//
// Every machine has a directory of its own, whose folder data is the agent's. Its API for people answers on the machine's
// loopback address and on a unix socket, which reaches across machines and so is there even when the network is cut.
package fleet
