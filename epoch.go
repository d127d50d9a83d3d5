package cluster

// The epoch of a cluster is 0 at first, and another after each time that the cluster was re-formed from the copy of one
// server because its quorum was lost. Of two the greater is the valid one. Its upper half counts; its lower half is drawn, so
// that two servers which are cut off from one another and are both made the first of a new epoch do not take each other's
// copy for their own.
const epochShift = 32

// NextEpoch is an epoch after the newest one that is known.
func NextEpoch(newest uint64, drawn uint32) uint64 {
	return (newest>>epochShift+1)<<epochShift | uint64(drawn)
}

// EpochNumber is the epoch as people see it: how often the cluster was re-formed.
func EpochNumber(epoch uint64) uint64 { return epoch >> epochShift }
