package docker

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/a43e60e4/cluster/driver"
)

// Options are those of the node's `plugin "docker" { config { … } }`. DecodeOptions fills in the defaults.
type Options struct {
	// Endpoint is the engine, such as "unix:///var/run/docker.sock"; "" is what DOCKER_HOST says, or that one.
	Endpoint                string         `config:"endpoint"`
	TLS                     tlsOptions     `config:"tls"`
	Auth                    authOptions    `config:"auth"`
	Volumes                 volumesOptions `config:"volumes"`
	GC                      gcOptions      `config:"gc"`
	AllowPrivileged         bool           `config:"allow_privileged"`
	AllowCaps               []string       `config:"allow_caps"`
	AllowRuntimes           []string       `config:"allow_runtimes"`
	AllowedModes            modesOptions   `config:"allowed_modes"`
	PidsLimit               int64          `config:"pids_limit"`
	OOMScoreAdj             int            `config:"oom_score_adj"`
	ImagePullTimeout        string         `config:"image_pull_timeout"` // "" is none: a pull takes as long as it moves
	PullActivityTimeout     string         `config:"pull_activity_timeout"`
	ExtraLabels             []string       `config:"extra_labels"`
	DisableLogCollection    bool           `config:"disable_log_collection"`
	ContainerExistsAttempts int            `config:"container_exists_attempts"`
}

type tlsOptions struct {
	Cert string `config:"cert"`
	Key  string `config:"key"`
	CA   string `config:"ca"`
}

type authOptions struct {
	Config string `config:"config"` // path of a file like ~/.docker/config.json
}

type volumesOptions struct {
	Enabled bool `config:"enabled"` // tasks may mount paths of the node outside their allocation
}

// gcOptions say what is removed when nobody needs it.
type gcOptions struct {
	Image      bool            `config:"image"`
	ImageDelay string          `config:"image_delay"`
	Container  bool            `config:"container"` // containers always go with their tasks
	Dangling   danglingOptions `config:"dangling_containers"`
}

type danglingOptions struct {
	Enabled       bool   `config:"enabled"`
	Period        string `config:"period"`
	CreationGrace string `config:"creation_grace"`
	DryRun        bool   `config:"dry_run"` // say what would be removed, and leave it
}

type modesOptions struct {
	Pid    []string `config:"pid"`
	Ipc    []string `config:"ipc"`
	Uts    []string `config:"uts"`
	Userns []string `config:"userns"`
}

// notYetOptions are known to users of the driver elsewhere, and not supported yet.
var notYetOptions = []string{
	"nvidia_runtime", "infra_image", "infra_image_pull_timeout", "logging", "auth.helper", "volumes.selinuxlabel",
	"windows_allow_insecure_container_admin",
}

// engineCaps are the capabilities that the engine gives containers by itself.
var engineCaps = []string{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP",
	"SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

// DefaultOptions are those of a node that says nothing.
func DefaultOptions() Options {
	return Options{
		AllowCaps:               slices.DeleteFunc(slices.Clone(engineCaps), func(c string) bool { return c == "NET_RAW" }),
		AllowRuntimes:           []string{"runc", "nvidia"},
		PullActivityTimeout:     "2m",
		ContainerExistsAttempts: 5,
		GC: gcOptions{
			Image: true, ImageDelay: "3m", Container: true,
			Dangling: danglingOptions{Enabled: true, Period: "5m", CreationGrace: "5m"},
		},
	}
}

// labelNames are those that extra_labels may ask for; "*" may stand at the end.
var labelNames = []string{"job_name", "job_id", "task_group_name", "task_name", "namespace", "node_name", "node_id"}

// DecodeOptions reads the options over the defaults; those in the second result are known but not supported yet.
// All errors are in one.
func DecodeOptions(from map[string]any) (Options, []string, error) {
	o := DefaultOptions()
	unsupported, err := driver.Decode(from, &o, notYetOptions...)
	if err != nil {
		return Options{}, nil, err
	}
	if !o.GC.Container {
		unsupported = append(unsupported, "gc.container")
	}
	for name, value := range map[string]string{
		"image_pull_timeout": o.ImagePullTimeout, "pull_activity_timeout": o.PullActivityTimeout, "gc.image_delay": o.GC.ImageDelay,
		"gc.dangling_containers.period": o.GC.Dangling.Period, "gc.dangling_containers.creation_grace": o.GC.Dangling.CreationGrace,
	} {
		if _, err := duration(value); err != nil {
			return Options{}, nil, fmt.Errorf("option %q must be a duration like \"2m\", not %q", name, value)
		}
	}
	for _, label := range o.ExtraLabels {
		if !slices.ContainsFunc(labelNames, func(name string) bool { return labelMatches(label, name) }) {
			return Options{}, nil, fmt.Errorf("option \"extra_labels\" knows no %q (there are: %s)", label, strings.Join(labelNames, ", "))
		}
	}
	return o, unsupported, nil
}

func labelMatches(pattern, name string) bool {
	prefix, ok := strings.CutSuffix(pattern, "*")
	return pattern == name || ok && strings.HasPrefix(name, prefix)
}

// duration reads a positive one; "" is 0.
func duration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = fmt.Errorf("duration %q is not positive", text)
	}
	return d, err
}

// capName is a capability as the engine writes it.
func capName(c string) string { return strings.TrimPrefix(strings.ToUpper(c), "CAP_") }
