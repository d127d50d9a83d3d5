// Package supervise is the parent of all tasks on a node: a small process that outlives the agent.
//
// The process a person starts calls [Run] and becomes the supervisor. It starts the agent as its
// child, restarts it when it crashes, and does for the agent what must survive the agent: it forks
// tasks, places them in cgroups, moves their output into log files, reaps them and remembers how
// they ended. The agent reaches it with [Inherited], over a socket that it was born with.
//
// Where things are:
//
//	task.go         the nouns: Spec, Output, Status, Exit, Stats
//	client.go       the agent's side of the connection
//	wire.go         frames and messages, both directions
//	run             the supervisor's life: lock, signals, agent, end
//	session         the supervisor's side of the connection
//	tasks           start, end and find again tasks
//	journal         what is known of each task, on disk
//	children        the one place that forks and reaps
//	tree, cgroup    a task's processes, and how to be sure that none is left
//	mover, sink     output: from named pipes into rotated files
//	keep, keeper    a process that holds pipes and exits, for when the supervisor is killed
//	upgrade         exec in place
//	fence           kills allocations whose node has lost the servers
//
// What survives what: when the agent dies, nothing is lost. When the supervisor replaces itself by
// exec, nothing is lost. When the supervisor is killed, with the agent or without, tasks go on, wait
// when their pipes are full, and are found again by the next supervisor; what they wrote is neither
// lost nor doubled, as it moves from pipe to file inside the kernel, and somebody has the pipe open
// at any time. How a task ended in between is known on Linux 6.15 and newer, and unknown before.
// Only when the keeper is killed too (all processes of a node at once, except its tasks) does a task
// that ends before the next supervisor lose what is still in its pipe.
package supervise
