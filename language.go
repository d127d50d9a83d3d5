package cluster

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// Path leads to a place in a job, in the words of the job file: `group "web" > task "app" > driver`.
// The empty path is the job itself. Places of a job that came as JSON have the same paths.
type Path string

// maxQuoted is how many bytes of a user's text a message repeats.
const maxQuoted = 40

// Field is the path of an attribute, or of a block that occurs once, inside p.
func (p Path) Field(name string) Path {
	if p == "" {
		return Path(name)
	}
	return p + " > " + Path(name)
}

// Label is the path of a labelled block inside p; long labels are cut.
func (p Path) Label(block, label string) Path {
	return p.Field(fmt.Sprintf("%s %.*q", block, maxQuoted, label))
}

// Index is the path of the index-th (from 0) of several blocks without label inside p.
func (p Path) Index(block string, index int) Path {
	return p.Field(block + "[" + strconv.Itoa(index) + "]")
}

// Parent is the path without its last step; the parent of the job is the job.
func (p Path) Parent() Path {
	// A label may contain the separator: a step ends only where the quotes before it are balanced.
	for end := len(p); end > 0; {
		i := strings.LastIndex(string(p[:end]), " > ")
		if i < 0 {
			break
		}
		if !insideQuotes(string(p[:i])) {
			return p[:i]
		}
		end = i
	}
	return ""
}

func insideQuotes(text string) bool {
	inside := false
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && inside:
			i++
		case text[i] == '"':
			inside = !inside
		}
	}
	return inside
}

// Problem is one thing that is wrong with a job.
type Problem struct {
	Path Path
	Text string
}

// String is the problem as people read it.
func (p Problem) String() string {
	if p.Path == "" {
		return p.Text
	}
	return string(p.Path) + ": " + p.Text
}

// Problems is everything that is wrong with a job. Errors of this package that are about several
// places of a job wrap it, so that a caller can find the places with errors.As.
type Problems []Problem

// maxListed is how many problems an error lists.
const maxListed = 50

// Error lists the problems, one a line; the first ones if there are very many.
func (p Problems) Error() string {
	var b strings.Builder
	plural := "s"
	if len(p) == 1 {
		plural = ""
	}
	fmt.Fprintf(&b, "invalid job: %d problem%s:", len(p), plural)
	for i, problem := range p {
		if i == maxListed {
			fmt.Fprintf(&b, "\n … and %d more", len(p)-i)
			break
		}
		b.WriteString("\n * " + problem.String())
	}
	return b.String()
}

// Err is nil if there are no problems, else an error of CodeInvalid that wraps them.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return Errorf(CodeInvalid, "%w", p)
}

func (p *Problems) add(at Path, format string, args ...any) {
	*p = append(*p, Problem{at, fmt.Sprintf(format, args...)})
}

// The kinds of Field.
const (
	FieldAttribute = ""      // name = value; a map may also be written as a block
	FieldBlock     = "block" // name { … }, repeated for a slice
	FieldLabel     = "label" // the label of the enclosing block
	FieldBody      = "body"  // a block with whatever is in it
)

// Field is a field of a noun as job files write it.
type Field struct {
	Name  string // in Go and in JSON
	HCL   string // in a job file, "" if it cannot be written there
	Kind  string
	Index int // in the Go struct
	Type  reflect.Type
}

// Fields lists the fields of a noun (a struct of this package) in order. The result is shared: do not modify it.
func Fields(noun reflect.Type) []Field {
	if known, ok := fieldCache.Load(noun); ok {
		return known.([]Field)
	}
	var fields []Field
	for i := range noun.NumField() {
		f := noun.Field(i)
		name, kind, _ := strings.Cut(f.Tag.Get("hcl"), ",")
		if name == "-" {
			name = ""
		}
		fields = append(fields, Field{Name: f.Name, HCL: name, Kind: kind, Index: i, Type: f.Type})
	}
	fieldCache.Store(noun, fields)
	return fields
}

var fieldCache sync.Map // reflect.Type → []Field

// Label is the field that holds the label of a noun's block, nil if its block has none.
func Label(noun reflect.Type) *Field {
	fields := Fields(noun)
	for i := range fields {
		if fields[i].Kind == FieldLabel {
			return &fields[i]
		}
	}
	return nil
}

// Setting is something the job language knows and this cluster does not do yet. It is refused by name, in job files and in JSON.
type Setting struct {
	Name  string // in JSON, "" if it exists in job files alone
	HCL   string // in a job file, "" if it exists in JSON alone
	Block bool
	Fine  any // besides emptiness, the value that asks for what happens anyway; nil if there is none
}

// Refuses reports whether the value, decoded from JSON, asks for something. An empty value (null, "", 0,
// false, [] or {}, and objects of these) does not, except that false does where true is what happens anyway.
func (s Setting) Refuses(value any) bool {
	if s.Fine == true {
		return value == false
	}
	if whole, ok := value.(int64); ok {
		value = float64(whole)
	}
	return !isEmpty(value) && (s.Fine == nil || !reflect.DeepEqual(value, s.Fine))
}

// Refusal is the text of the problem.
func (s Setting) Refusal() string {
	if s.Block {
		return fmt.Sprintf("the %q block is not supported yet; remove it", s.HCL)
	}
	name := s.HCL
	if name == "" {
		name = s.Name
	}
	return fmt.Sprintf("%q is not supported yet; remove it", name)
}

// Unsupported lists the settings of a noun that are refused. The result is shared: do not modify it.
func Unsupported(noun reflect.Type) []Setting { return unsupported[noun] }

// attribute and block are rows of the table below.
func attribute(name, hcl string) Setting { return Setting{Name: name, HCL: hcl} }
func block(name, hcl string) Setting     { return Setting{Name: name, HCL: hcl, Block: true} }

func (s Setting) but(fine any) Setting {
	s.Fine = fine
	return s
}

var unsupported = map[reflect.Type][]Setting{
	reflect.TypeFor[Job](): {
		attribute("AllAtOnce", "all_at_once"), block("Affinities", "affinity"),
		block("Periodic", "periodic"), block("ParameterizedJob", "parameterized"),
		block("Multiregion", "multiregion"), block("Reschedule", "reschedule"), block("Migrate", "migrate"),
		block("UI", "ui"), block("", "vault"), block("", "secret"), attribute("ParentID", ""), attribute("Dispatched", ""),
		attribute("Payload", ""), attribute("DispatchIdempotencyToken", ""), attribute("VersionTag", ""),
		attribute("ConsulToken", "consul_token"), attribute("VaultToken", "vault_token"),
		attribute("ConsulNamespace", "").but("default"), attribute("VaultNamespace", "").but("default"),
	},
	reflect.TypeFor[TaskGroup](): {
		block("Affinities", "affinity"), block("Volumes", "volume"),
		block("Scaling", "scaling"), block("Consul", "consul"), block("", "vault"), block("", "secret"),
		attribute("MaxRunDuration", "max_run_duration"),
	},
	reflect.TypeFor[EphemeralDisk]():  {attribute("Sticky", "sticky"), attribute("Migrate", "migrate")},
	reflect.TypeFor[RestartPolicy]():  {attribute("RenderTemplates", "render_templates")},
	reflect.TypeFor[UpdateStrategy](): {attribute("AutoRevert", "auto_revert"), attribute("AutoPromote", "auto_promote"), attribute("Canary", "canary")},
	reflect.TypeFor[Network](): {
		attribute("Device", "device"), attribute("CIDR", "cidr"), attribute("IP", "ip"), attribute("MBits", "mbits").but(10.0), // what old clients fill in
		attribute("Hostname", "hostname"), block("DNS", "dns"), block("CNI", "cni"),
	},
	reflect.TypeFor[Port](): {attribute("HostNetwork", "host_network").but("default"), attribute("IgnoreCollision", "ignore_collision")},
	reflect.TypeFor[Service](): {
		attribute("CanaryTags", "canary_tags"), block("Meta", "meta"), block("CanaryMeta", "canary_meta"),
		block("TaggedAddresses", "tagged_addresses"), attribute("EnableTagOverride", "enable_tag_override"),
		block("Weights", "weights").but(map[string]any{"Passing": 1.0, "Warning": 1.0}),
		block("Identity", "identity"), block("Connect", "connect"), attribute("Kind", "kind"), block("CheckRestart", "check_restart"),
	},
	reflect.TypeFor[Check](): {
		attribute("Command", "command"), attribute("Args", "args"), attribute("TaskName", "task"), attribute("InitialStatus", "initial_status"),
		attribute("AddressMode", "address_mode").but("host"), attribute("TLSServerName", "tls_server_name"),
		attribute("GRPCService", "grpc_service"), attribute("GRPCUseTLS", "grpc_use_tls"), attribute("Expose", "expose"),
		attribute("SuccessBeforePassing", "success_before_passing"), attribute("FailuresBeforeCritical", "failures_before_critical"),
		attribute("FailuresBeforeWarning", "failures_before_warning"), attribute("Notes", "notes"), attribute("Advertise", "advertise"),
		block("CheckRestart", "check_restart"),
	},
	reflect.TypeFor[Task](): {
		block("Affinities", "affinity"), block("Artifacts", "artifact"), block("Templates", "template"),
		block("VolumeMounts", "volume_mount"), block("Identity", "identity"), block("Identities", "identity"),
		block("Secrets", "secret"), block("Actions", "action"), attribute("Leader", "leader"), block("Lifecycle", "lifecycle"),
		block("DispatchPayload", "dispatch_payload"), block("Vault", "vault"), block("Consul", "consul"),
		block("CSIPluginConfig", "csi_plugin"), block("Schedule", "schedule"), block("ScalingPolicies", "scaling"), attribute("Kind", "kind"),
	},
	reflect.TypeFor[Resources](): {
		attribute("Cores", "cores"), attribute("MemoryMaxMB", "memory_max"), attribute("SecretsMB", "secrets"), attribute("DiskMB", "disk"),
		attribute("IOPS", "iops"), block("Devices", "device"), block("NUMA", "numa").but(map[string]any{"Affinity": "none"}), block("Networks", "network"),
	},
	reflect.TypeFor[LogConfig](): {attribute("Enabled", "enabled").but(true)},
}
