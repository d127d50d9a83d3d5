package cluster

// Namespace separates the jobs of users from one another. DefaultNamespace always exists.
type Namespace struct {
	Name        string // 1 to 128 letters, digits and dashes
	Description string
	Meta        map[string]string
	CreateIndex uint64
	ModifyIndex uint64
}
