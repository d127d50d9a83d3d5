// Package docker is the driver "docker": it runs tasks as containers of a Docker engine on the node.
//
// The containers belong to the engine and are found again by their labels, so that a restart of the agent changes nothing.
// What the driver keeps beside the engine is one small file per container: how far its output has been copied.
//
//	docker.go      the driver's verbs
//	options.go     what the node allows: the plugin's options
//	config.go      what a task may say: its config block
//	container.go   task and config → what the engine is asked to create; no I/O but looking at paths
//	names.go       whom containers ask for names
//	mounts.go      which paths of the node a container may see
//	image.go       image names, pulling, whose errors are whose
//	auth.go        credentials for registries
//	clean.go       containers of lost allocations and images that nobody uses
//	wait.go        until a container has ended, whatever the engine does meanwhile
//	output.go      the engine's log → the task's log files, exactly once
//	frames.go      the engine's log stream → messages
//	engine.go      bounded calls and errors in words
package docker
