package scheduler

import "fmt"

// collision says that a static port is taken.
func collision(label string, port int) string {
	return fmt.Sprintf("network: reserved port collision %s=%d", label, port)
}
