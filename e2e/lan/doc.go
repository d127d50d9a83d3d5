// Package lan makes machines out of network namespaces, on a local network that loses, delays, cuts and blocks as it is
// told: between the machines' interfaces (TAP devices) stands a switch in this process, as not every kernel has netem.
//
// A LAN's conditions hold per direction: for what leaves a machine, for what reaches it, and for the way from one machine
// to another. A packet meets all three; of two losses or delays the greater counts. Finding neighbours (ARP, IPv6
// neighbour discovery) is neither lost nor delayed, only cut: losing a question that is asked once a minute would hide
// what a test is about.
//
// Namespaces can be entered under /run/cluster-lan while the LAN is open. What a process that was killed has left there,
// namespaces and all that runs in them, the next Open removes.
package lan
