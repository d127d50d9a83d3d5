package cluster

import "time"

// The times at which a task with a Lifecycle runs.
const (
	HookPrestart  = "prestart"  // before the main tasks
	HookPoststart = "poststart" // once they run
	HookPoststop  = "poststop"  // after they have ended
)

// Lifecycle is when a task runs that is not one of the main ones.
type Lifecycle struct {
	// Hook is the time: before, with or after the main tasks.
	Hook string `hcl:"hook,required" enum:"prestart poststart poststop"`
	// Sidecar says that the task runs as long as the main ones.
	Sidecar bool `hcl:"sidecar"`
}

// Signals are the names of the signals that a task can be sent, with commas between them; nodes have it as ${attr.os.signals}.
const Signals = "SIGABRT,SIGALRM,SIGBUS,SIGCHLD,SIGCONT,SIGFPE,SIGHUP,SIGILL,SIGINT,SIGIO,SIGIOT,SIGKILL,SIGNULL,SIGPIPE," +
	"SIGPROF,SIGQUIT,SIGSEGV,SIGSTOP,SIGSYS,SIGTERM,SIGTRAP,SIGTSTP,SIGTTIN,SIGTTOU,SIGURG,SIGUSR1,SIGUSR2,SIGWINCH,SIGXCPU,SIGXFSZ"

// Action is a command that can be run in a task.
type Action struct {
	// Name is the action's in its task.
	Name string `hcl:"name,label"`
	// Command is the program.
	Command string `hcl:"command,required"`
	// Args are its arguments.
	Args []string `hcl:"args"`
}

// Artifact is a file or folder that is fetched before the task starts.
type Artifact struct {
	// GetterSource is where it is: an address of http, https, git, s3, …
	GetterSource string `hcl:"source"`
	// GetterOptions are for the way it is fetched, such as checksum.
	GetterOptions map[string]string `hcl:"options"`
	// GetterHeaders are headers of http.
	GetterHeaders map[string]string `hcl:"headers"`
	// GetterMode is whether it is a file, a folder, or what it turns out to be.
	GetterMode string `hcl:"mode" enum:"any file dir" default:"any"`
	// GetterInsecure accepts any certificate.
	GetterInsecure bool `hcl:"insecure"`
	// RelativeDest is the path in the instance's directory, "local/" if it is not written.
	RelativeDest string `hcl:"destination"`
	// Chown gives what is fetched to the task's user.
	Chown bool `hcl:"chown"`
}

// Template is a file that is made out of what the cluster knows, and made anew when that changes.
type Template struct {
	// SourcePath is a file with the text of the template.
	SourcePath string `hcl:"source"`
	// EmbeddedTmpl is the text of the template.
	EmbeddedTmpl string `hcl:"data"`
	// DestPath is the path of the file.
	DestPath string `hcl:"destination"`
	// ChangeMode is what follows a change.
	ChangeMode string `hcl:"change_mode" enum:"noop restart signal script" default:"restart"`
	// ChangeSignal is the signal for the mode signal.
	ChangeSignal string `hcl:"change_signal"`
	// ChangeScript is the command for the mode script.
	ChangeScript *ChangeScript `hcl:"change_script,block"`
	// Once says that it is made at the start alone.
	Once bool `hcl:"once"`
	// Splay is the longest time that is waited by chance before a change has effect.
	Splay time.Duration `hcl:"splay" default:"5s"`
	// Perms are the file's permissions, octal.
	Perms string `hcl:"perms" default:"0644"`
	// Uid is the number of the file's user.
	Uid *int `hcl:"uid"`
	// Gid is the number of the file's group.
	Gid *int `hcl:"gid"`
	// LeftDelim begins an action in the text.
	LeftDelim string `hcl:"left_delimiter" default:"{{"`
	// RightDelim ends it.
	RightDelim string `hcl:"right_delimiter" default:"}}"`
	// Envvars makes the lines of the file variables of the task's environment.
	Envvars bool `hcl:"env"`
	// VaultGrace has no effect; old job files have it.
	VaultGrace time.Duration `hcl:"vault_grace" deprecated:"it has no effect"`
	// Wait is how long further changes are waited for.
	Wait *WaitConfig `hcl:"wait,block"`
	// ErrMissingKey fails at keys that are not there, instead of writing "<no value>".
	ErrMissingKey bool `hcl:"error_on_missing_key"`
}

// ChangeScript is a command that is run in a task when a template has changed.
type ChangeScript struct {
	// Command is the program.
	Command string `hcl:"command"`
	// Args are its arguments.
	Args []string `hcl:"args"`
	// Timeout is how long it may take.
	Timeout time.Duration `hcl:"timeout" default:"5s"`
	// FailOnError ends the task if the script fails.
	FailOnError bool `hcl:"fail_on_error"`
	// RunOnFirstRender runs it at the start too.
	RunOnFirstRender bool `hcl:"run_on_first_render"`
}

// WaitConfig is how long further changes are waited for before a template is made anew.
type WaitConfig struct {
	// Min is the quiet time that is waited for.
	Min time.Duration `hcl:"min"`
	// Max is how long it is waited for at most.
	Max time.Duration `hcl:"max"`
}

// Secret is a set of values that a task sees as ${secret.<name>.<key>}.
type Secret struct {
	// Name is the secret's in the task.
	Name string `hcl:"name,label"`
	// Provider is who keeps it.
	Provider string `hcl:"provider"`
	// Path is where the provider keeps it.
	Path string `hcl:"path"`
	// Config is the provider's own.
	Config map[string]any `hcl:"config,body"`
	// Env are variables for the provider's plugin.
	Env map[string]string `hcl:"env"`
}

// DefaultIdentity is the name of the identity that every task has; "" is another.
const DefaultIdentity = "default"

// WorkloadIdentity is a signed statement of who a task is.
type WorkloadIdentity struct {
	// Name is the identity's; without one it is the task's own.
	Name string `hcl:"name,key"`
	// Audience are those whom the statement is meant for.
	Audience []string `hcl:"aud"`
	// ChangeMode is what follows when it is renewed.
	ChangeMode string `hcl:"change_mode" enum:"noop restart signal"`
	// ChangeSignal is the signal for the mode signal.
	ChangeSignal string `hcl:"change_signal"`
	// Env makes it a variable of the task's environment.
	Env bool `hcl:"env"`
	// File makes it a file in secrets/.
	File bool `hcl:"file"`
	// Filepath is the path of that file.
	Filepath string `hcl:"filepath"`
	// ServiceName is the service that it is for.
	ServiceName string `hcl:"service_name"`
	// TTL is for how long it holds.
	TTL time.Duration `hcl:"ttl"`
	// ExtraClaims are further statements.
	ExtraClaims []string `hcl:"extra_claims"`
}

// Vault asks for a token of HashiCorp Vault.
type Vault struct {
	// Policies are what the token allows.
	Policies []string `hcl:"policies"`
	// Role is the role that the task takes.
	Role string `hcl:"role"`
	// Namespace is Vault's.
	Namespace string `hcl:"namespace"`
	// Cluster is which Vault.
	Cluster string `hcl:"cluster" default:"default"`
	// Env makes the token a variable of the task's environment.
	Env bool `hcl:"env" default:"true"`
	// DisableFile keeps the token out of secrets/.
	DisableFile bool `hcl:"disable_file"`
	// ChangeMode is what follows when the token changes.
	ChangeMode string `hcl:"change_mode" enum:"noop restart signal" default:"restart"`
	// ChangeSignal is the signal for the mode signal.
	ChangeSignal string `hcl:"change_signal" default:"SIGHUP"`
	// AllowTokenExpiration lets the token end.
	AllowTokenExpiration bool `hcl:"allow_token_expiration"`
}

// Consul is which Consul a group or task belongs to; the cluster finds services itself.
type Consul struct {
	// Namespace is Consul's.
	Namespace string `hcl:"namespace"`
	// Cluster is which Consul.
	Cluster string `hcl:"cluster" default:"default"`
	// Partition is Consul's.
	Partition string `hcl:"partition"`
}

// TaskSchedule says at what times a task runs.
type TaskSchedule struct {
	// Cron is the schedule.
	Cron *TaskScheduleCron `hcl:"cron,block"`
}

// TaskScheduleCron is a schedule of starts and ends.
type TaskScheduleCron struct {
	// Start is a cron expression.
	Start string `hcl:"start"`
	// End is the hour and minute of the end.
	End string `hcl:"end"`
	// Timezone is the time zone of both.
	Timezone string `hcl:"timezone"`
}
