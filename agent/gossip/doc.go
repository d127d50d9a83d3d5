// Package gossip tells every node of a cluster what every other node says of itself, and which of them are alive, with
// no server in between. It is memberlist behind a small door; it knows nothing of services.
//
// # Records
//
// What a node says is a record: a vector of parts, opaque bytes that the node's user publishes, and before them, as part
// 0 of what travels, the node's certificate. Each part has a version: the node's registration (an index that grows when
// a node registers anew, so that a wiped disk is newer) and an edition, which every publication raises and which only
// the parts that changed get. The first bits of the edition are how often the node has started, which its disk
// remembers, so that a restart is newer too.
//
// Each part is signed with the node's key, because the key of the gossip is shared by all: cluster, node, version,
// index, hash of its bytes, and beside these the number of parts and a hash over the vector of all editions and hashes
// as it is with this edition. So the newest header that a node has seen tells it what a complete record looks like, and
// a record is shown only as it was published: never a mix of two publications, never shorter than it is. Until the newest
// one is complete, the one before is shown. A record that ends with a signed goodbye is of a node that left.
//
// Merging (record.go) is pure: the order in which parts arrive and how often they do does not matter. A newer version
// wins; of two parts with the same version and different content, which an honest node never signs, one wins everywhere
// alike, and it is counted. A node that sees its own signature under a version which it does not remember, because its
// disk was restored from a backup, continues above it.
//
// # Ways
//
//   - A changed part that fits into one packet is broadcast, and told further by each node to which it is new. Many
//     changes at once and larger parts are announced by a header, together with who has the bytes.
//   - Push/pull, a stream between two nodes every 15 s and at each join, carries for each node the version of its complete
//     record only (about 40 bytes), so it grows with the nodes and not with what they say.
//   - What is missing is fetched (Config.Fetch, a request over the port between nodes): from who told of it, else from the
//     node itself, else from any other, a few at a time, for as long as it takes. An answer has only parts newer than what
//     the asker has. Versions in push/pull are not signed; they cause questions and nothing else.
//
// # Alive, dead, left
//
// memberlist probes. Its settings are measured: a crash is dead everywhere in 1.5 s (3 s at most), 30 % loss of packets
// causes hardly any false alarm. A dead node keeps its record: only Forget, its own goodbye and time drop it.
// A node's name in memberlist is its ID with its address. So a node that restarts elsewhere is a new name, which memberlist takes
// over at once, where it would refuse the same name at another address until the old one is dead; and the two are one member
// here. Two addresses that stay alive under one ID are a conflict, which is counted and told in words.
//
// Those who are missing are tried for ever, a few every 10 s: members that are dead, addresses that the user knows
// (Config.Peers) and those remembered on disk; not those who left.
//
// Two clusters never merge, even over reused addresses: their labels differ, which are authenticated, and so do their
// keys; a record is signed for its cluster.
package gossip
