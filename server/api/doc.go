// Package api is the wire between the servers and everybody who talks to them: the table of routes, the shapes
// of requests and answers that are not nouns of the root package already, and the client made from both.
//
// Paths, field names and messages are those that existing clients of this ecosystem know.
package api
