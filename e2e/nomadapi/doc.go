// Package nomadapi checks, with the official Go client of the ecosystem that the API comes from, that existing clients
// can talk to a cluster. It is a module of its own, so that the product does not depend on that client.
package nomadapi
