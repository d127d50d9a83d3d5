// Package rawexec is the driver "raw_exec": it runs commands as processes of the node, without isolation.
//
// The processes belong to a supervisor that outlives the agent; the driver reaches it through Processes, translates
// tasks into it and remembers how they ended. Here is no state that a restart of the agent would lose.
package rawexec
