package cluster

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Later is something that the job language knows and this cluster does not do yet. A job that asks for it keeps it, and whoever
// submits the job is told by name.
type Later struct {
	Noun  reflect.Type // what it is a field of
	Field string       // in Go and in JSON
	Works []string     // values of it that ask for nothing special, besides empty ones
	// Refused says that the job must not run without it; else it runs, and a warning says what is missing.
	Refused bool
	// Text says what happens instead: "… is not supported yet: <text>".
	Text string
}

// warn and refuse are rows of the table below.
func warn[T any](field, text string, works ...string) Later {
	return Later{reflect.TypeFor[T](), field, works, false, text}
}

func refuse[T any](field, text string, works ...string) Later {
	return Later{reflect.TypeFor[T](), field, works, true, text}
}

// laters is everything that the job language knows and this cluster does not do yet. Who builds a row's feature deletes the row.
var laters = []Later{
	refuse[Job]("Region", "there is one region, \"global\"", GlobalRegion),
	warn[Job]("AllAtOnce", "what fits is placed, the rest waits"),
	refuse[Job]("Multiregion", "there is one region; remove the block"),
	warn[Job]("UI", "there is no web interface; \"cluster job inspect\" shows it"),
	warn[EphemeralDisk]("Sticky", "a replacement may be placed on any node, and begins with an empty directory"),
	warn[EphemeralDisk]("Migrate", "a replacement begins with an empty directory"),
	warn[RestartPolicy]("RenderTemplates", "templates are not made yet"),
	warn[UpdateStrategy]("AutoRevert", "a failed update stays as it is; go back with \"cluster job revert\""),
	warn[UpdateStrategy]("AutoPromote", "there are no canaries yet"),
	warn[UpdateStrategy]("Canary", "a change replaces max_parallel instances at a time, without canaries"),
	refuse[UpdateStrategy]("HealthCheck", "nobody could say that an instance is healthy", HealthCheckChecks, HealthCheckTaskStates),
	warn[UpdateStrategy]("Stagger", "min_healthy_time and max_parallel say when the next instances are replaced", "30s"),
	warn[ScalingPolicy]("Policy", "nothing scales the group by itself; \"cluster job scale\" does, between min and max"),
	warn[TaskGroup]("Consul", "the cluster finds services itself"),
	warn[TaskGroup]("MaxRunDuration", "instances are not stopped"),
	refuse[TaskGroup]("Volumes", "the tasks' data would be missing"),
	refuse[Network]("Mode", "tasks would share the network of their machine", "host"),
	warn[Network]("Hostname", "tasks see the name that their driver gives"),
	warn[Network]("DNS", "tasks ask whom their driver sets"),
	warn[Network]("CNI", "there are no CNI networks"),
	refuse[Port]("HostNetwork", "the port would be on another network", "default"),
	warn[Port]("IgnoreCollision", "a static port is given to one instance of a node"),
	warn[Service]("CanaryTags", "there are no canaries yet"),
	warn[Service]("CanaryMeta", "there are no canaries yet"),
	warn[Service]("Meta", "it is kept, and told to nobody"),
	warn[Service]("TaggedAddresses", "it is kept, and told to nobody"),
	warn[Service]("EnableTagOverride", "tags are the job's"),
	warn[Service]("Weights", "all endpoints are told alike"),
	warn[Service]("Identity", "services are registered by the cluster itself"),
	refuse[Service]("Connect", "there is no service mesh: traffic would not be encrypted, upstreams not found"),
	warn[Service]("Kind", "there is no service mesh"),
	warn[Service]("Cluster", "there is one catalog of services", "default"),
	warn[Service]("CheckRestart", "failing checks restart nothing"),
	refuse[Service]("AddressMode", "another address would be told", "auto", "host"),
	refuse[Check]("Type", "the instance would count as healthy unasked", CheckHTTP, CheckTCP),
	warn[Check]("AddressMode", "the node's address is asked", "host"),
	warn[Check]("Advertise", "the instance's own address is told"),
	warn[Check]("Expose", "there is no service mesh"),
	warn[Check]("InitialStatus", "a check is pending before its first answer"),
	warn[Check]("SuccessBeforePassing", "the first success counts"),
	warn[Check]("FailuresBeforeCritical", "the first failure counts"),
	warn[Check]("FailuresBeforeWarning", "there are no warnings"),
	warn[Check]("Notes", "they are kept, and told to nobody"),
	warn[Check]("TLSServerName", "the address is the name"),
	warn[Check]("CheckRestart", "failing checks restart nothing"),
	refuse[Task]("Artifacts", "the task's files would be missing"),
	refuse[Task]("Templates", "the task's files would be missing"),
	refuse[Task]("VolumeMounts", "the task's data would be missing"),
	refuse[Task]("Identities", "the task's tokens would be missing"),
	refuse[Task]("Secrets", "the task's secrets would be missing"),
	refuse[Task]("Vault", "the task's secrets would be missing"),
	refuse[WorkloadIdentity]("Env", "the task's token would be missing"),
	refuse[WorkloadIdentity]("File", "the task's token would be missing"),
	warn[Task]("Actions", "they cannot be run"),
	refuse[Task]("Leader", "the other tasks would not end with it"),
	refuse[Task]("Lifecycle", "it would run as a main task"),
	warn[Task]("Consul", "the cluster finds services itself"),
	refuse[Task]("CSIPluginConfig", "there are no CSI volumes"),
	refuse[Task]("Schedule", "it would run all the time"),
	warn[Task]("ScalingPolicies", "tasks are not resized"),
	warn[Task]("Kind", "there is no service mesh"),
	refuse[Resources]("Cores", "cores would be shared; write cpu instead"),
	warn[Resources]("MemoryMaxMB", "memory is the limit"),
	warn[Resources]("SecretsMB", "the folder for secrets has no size of its own"),
	refuse[Resources]("Devices", "the task would not have them"),
	refuse[NUMA]("Affinity", "cores are not bound", "none"),
	refuse[Resources]("Networks", "the ports would not be given"),
}

var latersByNoun = sync.OnceValue(func() map[reflect.Type]map[string]*Later {
	index := map[reflect.Type]map[string]*Later{}
	for i := range laters {
		l := &laters[i]
		if index[l.Noun] == nil {
			index[l.Noun] = map[string]*Later{}
		}
		index[l.Noun][l.Field] = l
	}
	return index
})

// Laters lists what the job language knows and this cluster does not do yet.
func Laters() []Later { return slices.Clone(laters) }

// Missing lists what the job asks for and does not get: what it must not run without, as problems, and all else, each
// once, as warnings.
func (j *Job) Missing() (refused, warned Problems) {
	more := map[*Later]int{}
	first := map[*Later]int{} // index in warned
	var around *CheckRestart  // of the service whose checks are visited next
	walk(reflect.ValueOf(j).Elem(), "", func(at Path, noun reflect.Type, f Field, value reflect.Value) {
		l := latersByNoun()[noun][f.Name]
		if l == nil {
			return
		}
		if r, ok := reflect.TypeAssert[*CheckRestart](value); ok && noun == reflect.TypeFor[Service]() {
			around = r
		} else if ok && r != nil && around != nil && *r == *around {
			return // the check has its service's, and it is said there
		}
		if !l.asked(value) {
			return
		}
		problem := l.problem(at, f, value)
		if l.Refused {
			refused = append(refused, problem)
		} else if _, said := first[l]; said {
			more[l]++
		} else {
			first[l] = len(warned)
			warned = append(warned, problem)
		}
	})
	for l, n := range more {
		if n == 1 {
			warned[first[l]].Text += " (the same in another place)"
			continue
		}
		warned[first[l]].Text += fmt.Sprintf(" (the same in %d more places)", n)
	}
	return refused, warned
}

// asked reports whether a value of the field asks for something special.
func (l *Later) asked(value reflect.Value) bool {
	switch value.Kind() {
	case reflect.Map, reflect.Slice:
		return value.Len() > 0
	}
	return !value.IsZero() && !slices.Contains(l.Works, fmt.Sprint(value.Interface()))
}

// problem names a value that asks for something special.
func (l *Later) problem(at Path, f Field, value reflect.Value) Problem {
	what := fmt.Sprintf("%q", f.Word())
	switch {
	case f.Noun() != nil:
		what = "the " + what + " block"
	case f.Kind == FieldBody:
		what = "the " + what + " block"
	case value.Kind() == reflect.String:
		what = f.Word() + " = " + quote(value.String()).String()
	}
	return Problem{firstPath(at, f, value), what + " is not supported yet: " + l.Text}
}

// firstPath is the place of a field in the noun at a place: that of the first of several blocks.
func firstPath(at Path, f Field, value reflect.Value) Path {
	for first := range nounsOf(value, f, at) {
		return first
	}
	return at.Field(f.Word())
}

// walk visits every field of a noun and of all nouns in it, in order.
func walk(noun reflect.Value, at Path, visit func(at Path, noun reflect.Type, f Field, value reflect.Value)) {
	for _, f := range Fields(noun.Type()) {
		value := noun.Field(f.Index)
		visit(at, noun.Type(), f, value)
		for path, inner := range nounsOf(value, f, at) {
			walk(inner, path, visit)
		}
	}
}

// nounsOf are the nouns that a field at a place holds, with their places.
func nounsOf(value reflect.Value, f Field, at Path) iter.Seq2[Path, reflect.Value] {
	return func(yield func(Path, reflect.Value) bool) {
		switch value.Kind() {
		case reflect.Struct:
			yield(at.Field(f.Word()), value)
		case reflect.Pointer:
			if !value.IsNil() && value.Elem().Kind() == reflect.Struct {
				yield(at.Field(f.Word()), value.Elem())
			}
		case reflect.Slice:
			if f.Noun() == nil {
				return
			}
			name := key(f.Noun())
			for i := range value.Len() {
				path := at.Index(f.Word(), i)
				if name != nil && value.Index(i).Field(name.Index).String() != "" {
					path = at.Label(f.Word(), value.Index(i).Field(name.Index).String())
				}
				if !yield(path, value.Index(i)) {
					return
				}
			}
		case reflect.Map:
			if f.Noun() == nil {
				return
			}
			keys := value.MapKeys()
			slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
			for _, key := range keys {
				if inner := value.MapIndex(key); !inner.IsNil() && !yield(at.Label(f.Word(), key.String()), inner.Elem()) {
					return
				}
			}
		}
	}
}
