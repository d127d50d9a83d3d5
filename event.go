package cluster

import (
	"fmt"
	"time"
)

// EventType is what happened to a task.
type EventType uint8

// The events, in the order of eventNames.
const (
	EventUnknown EventType = iota
	EventReceived
	EventTaskSetup
	EventDriver
	EventDriverFailure
	EventSetupFailure
	EventFailedValidation
	EventStarted
	EventTerminated
	EventRestarting
	EventNotRestarting
	EventRestartSignaled
	EventSignaling
	EventKilling
	EventKilled
	EventSiblingFailed
	EventWaitingShutdownDelay
	EventFailedRestoring
	EventReconnected
	EventHookMessage
)

var eventNames = [...]string{"Unknown", "Received", "Task Setup", "Driver", "Driver Failure", "Setup Failure",
	"Failed Validation", "Started", "Terminated", "Restarting", "Not Restarting", "Restart Signaled", "Signaling",
	"Killing", "Killed", "Sibling Task Failed", "Waiting for shutdown delay", "Failed Restoring Task", "Reconnected",
	"Task hook message"}

// String is the name that people and tools know.
func (t EventType) String() string {
	if int(t) < len(eventNames) {
		return eventNames[t]
	}
	return eventNames[EventUnknown]
}

// ParseEventType is the inverse of String; an unknown name is EventUnknown.
func ParseEventType(name string) EventType {
	for i, n := range eventNames {
		if n == name {
			return EventType(i)
		}
	}
	return EventUnknown
}

// TaskEvent is one line of a task's diary.
type TaskEvent struct {
	Time    int64         // unix nanoseconds
	Details *EventDetails // nil when the type says it all
	Type    EventType
}

// EventDetails says more of an event. Zero fields are not shown, but for ExitCode of a Terminated event.
type EventDetails struct {
	Message    string // the reason in words
	ExitCode   int
	Signal     int
	OOMKilled  bool
	StartDelay time.Duration // until the next start
	Timeout    time.Duration // of a kill
	FailsTask  bool
}

// DisplayMessage is the event in words.
func (e TaskEvent) DisplayMessage() string {
	var d EventDetails
	if e.Details != nil {
		d = *e.Details
	}
	switch e.Type {
	case EventReceived:
		return "Task received by client"
	case EventTaskSetup:
		return "Building Task Directory"
	case EventStarted:
		return "Task started by client"
	case EventTerminated:
		text := fmt.Sprintf("Exit Code: %d", d.ExitCode)
		if d.Signal != 0 {
			text += fmt.Sprintf(", Signal: %d", d.Signal)
		}
		if d.OOMKilled {
			text += `, OOM Killed`
		}
		if d.Message != "" {
			text += fmt.Sprintf(", Exit Message: %q", d.Message)
		}
		return text
	case EventRestarting:
		return fmt.Sprintf("%s: restarting in %s", orDefault(d.Message, "Task ended"), d.StartDelay.Round(time.Millisecond))
	case EventKilling:
		return fmt.Sprintf("Sent interrupt. Waiting %s before force killing", d.Timeout)
	case EventKilled:
		return "Task successfully killed"
	case EventSiblingFailed:
		return fmt.Sprintf("Task's sibling %q failed", d.Message)
	}
	return orDefault(d.Message, e.Type.String())
}

func orDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
