package cluster

import "time"

// VolumeRequest is a volume that a group's tasks may mount.
type VolumeRequest struct {
	// Name is the volume's in the group.
	Name string `hcl:"name,label"`
	// Type is host (a folder of the node's) or csi.
	Type string `hcl:"type" enum:"host csi"`
	// Source is the volume's name on the node or in the cluster.
	Source string `hcl:"source"`
	// ReadOnly says that nothing is written to it.
	ReadOnly bool `hcl:"read_only"`
	// Sticky binds an instance to the volume that it used first.
	Sticky bool `hcl:"sticky"`
	// PerAlloc appends [0], [1], … to the source: each instance has a volume of its own.
	PerAlloc bool `hcl:"per_alloc"`
	// AccessMode is who may use it at the same time.
	AccessMode string `hcl:"access_mode"`
	// AttachmentMode is file-system or block-device.
	AttachmentMode string `hcl:"attachment_mode" enum:"file-system block-device"`
	// MountOptions are for csi volumes.
	MountOptions *MountOptions `hcl:"mount_options,block"`
}

// MountOptions are how a csi volume is mounted.
type MountOptions struct {
	// FSType is the file system.
	FSType string `hcl:"fs_type"`
	// MountFlags are options of mount.
	MountFlags []string `hcl:"mount_flags"`
}

// VolumeMount is where a task sees one of its group's volumes.
type VolumeMount struct {
	// Volume is the volume's name in the group.
	Volume string `hcl:"volume"`
	// Destination is the path in the task.
	Destination string `hcl:"destination"`
	// ReadOnly says that the task does not write to it.
	ReadOnly bool `hcl:"read_only"`
	// PropagationMode is whether mounts below it are seen on the other side.
	PropagationMode string `hcl:"propagation_mode" enum:"private host-to-task bidirectional" default:"private"`
	// SELinuxLabel is "", "z" or "Z".
	SELinuxLabel string `hcl:"selinux_label"`
}

// CSIPluginConfig makes a task a plugin for volumes.
type CSIPluginConfig struct {
	// ID is the plugin's name.
	ID string `hcl:"id"`
	// Type is which part of the plugin the task is.
	Type string `hcl:"type" enum:"node controller monolith"`
	// MountDir is where the plugin makes its socket.
	MountDir string `hcl:"mount_dir" default:"/csi"`
	// StagePublishBaseDir is where volumes are mounted.
	StagePublishBaseDir string `hcl:"stage_publish_base_dir" default:"/local/csi"`
	// HealthTimeout is how long the plugin may take to become healthy.
	HealthTimeout time.Duration `hcl:"health_timeout" default:"30s"`
}
