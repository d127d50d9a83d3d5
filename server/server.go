// Package server is what servers do: keep the state by Raft, plan work onto nodes, and answer the API.
package server
