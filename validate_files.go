package cluster

import (
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// escapes reports whether a path that is seen from a folder of the allocation's directory leads out of the latter, or, if the
// folder has several parts, out of the folder. References in it count as names.
func escapes(folder, file string) bool {
	inside := path.Join(folder, file)
	if strings.Contains(folder, "/") {
		return inside != folder && !strings.HasPrefix(inside, folder+"/")
	}
	return inside == ".." || strings.HasPrefix(inside, "../")
}

func (v *validator) artifacts(at Path, artifacts []Artifact) {
	for i := range artifacts {
		a := &artifacts[i]
		where := at.Index("artifact", i)
		v.check(a.GetterSource != "", where, `source must be specified; write where the artifact is, such as source = "https://…"`)
		v.check(!escapes("task", a.RelativeDest), where.Field("destination"), "destination escapes allocation directory: %s; write a path such as local/", quote(a.RelativeDest))
		if checksum, written := a.GetterOptions["checksum"]; written && !strings.Contains(checksum, "${") {
			err := checkChecksum(checksum)
			v.check(err == nil, where.Field("options"), "invalid checksum: %v", err)
		}
	}
}

// checksumBytes are the kinds of checksums with their lengths.
var checksumBytes = map[string]int{"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}

func checkChecksum(text string) error {
	kind, sum, found := strings.Cut(strings.TrimSpace(text), ":")
	if !found {
		return fmt.Errorf(`it must be given as "type:value", such as "sha256:abc…", have %s`, quote(text))
	}
	length, known := checksumBytes[kind]
	if !known {
		return fmt.Errorf("its type must be md5, sha1, sha256 or sha512, have %s", quote(kind))
	}
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != length {
		return fmt.Errorf("the value of a %s is %d hexadecimal digits, have %s", kind, 2*length, quote(sum))
	}
	return nil
}

func (v *validator) templates(at Path, templates []Template) {
	seen := map[string]bool{}
	for i := range templates {
		t := &templates[i]
		where := at.Index("template", i)
		v.check(t.SourcePath != "" || t.EmbeddedTmpl != "", where, "Must specify a source path or have an embedded template; write source or data")
		v.warn(t.SourcePath != "" && t.EmbeddedTmpl != "", where, "a template has a source or data: with both, data counts")
		v.check(t.DestPath != "", where, `Must specify a destination for the template; write one such as destination = "local/app.conf"`)
		v.check(!escapes("task", t.DestPath), where.Field("destination"), "destination escapes allocation directory: %s; write a path such as local/app.conf", quote(t.DestPath))
		v.check(t.DestPath == "" || !seen[t.DestPath], where.Field("destination"), "Template destination %s is another template's already; write another", quote(t.DestPath))
		seen[t.DestPath] = true
		v.templateChange(where, t)
		_, err := strconv.ParseUint(t.Perms, 8, 12)
		v.check(t.Perms == "" || err == nil, where.Field("perms"), `Failed to parse %s as octal; write permissions such as "0644"`, quote(t.Perms))
		v.check(t.Splay >= 0, where.Field("splay"), "Must specify positive splay value, have %s", t.Splay)
		if w := t.Wait; w != nil {
			v.check(w.Min >= 0 && w.Max >= 0, where.Field("wait"), "wait times can not be negative")
			v.check(w.Max == 0 || w.Min <= w.Max, where.Field("wait"), "wait min (%s) must be less than max (%s)", w.Min, w.Max)
		}
	}
}

// templateChange checks what follows when a template's text has changed.
func (v *validator) templateChange(at Path, t *Template) {
	switch t.ChangeMode {
	case "signal":
		v.check(!t.Envvars, at, `cannot use change_mode = "signal" with env var templates: a running task keeps its environment; write "restart"`)
	case "script":
		v.check(t.ChangeScript != nil, at, `must specify change_script when change_mode is "script"`)
		v.check(t.ChangeScript == nil || t.ChangeScript.Command != "", at.Field("change_script"), `must specify script path value when change_mode is "script": write command`)
	}
	v.warn(t.ChangeScript != nil && t.ChangeMode != "script", at.Field("change_script"), `the script runs with change_mode = "script" alone`)
	v.signal(at.Field("change_signal"), t.ChangeSignal)
}

// The access modes of volumes.
var (
	hostAccess = []string{"single-node-reader-only", "single-node-writer", "single-node-single-writer", "single-node-multi-writer"}
	csiAccess  = []string{"single-node-reader-only", "single-node-writer", "multi-node-reader-only", "multi-node-single-writer", "multi-node-multi-writer"}
)

func (v *validator) volumes(at Path, g *TaskGroup) {
	for _, name := range names(g.Volumes) {
		r := g.Volumes[name]
		where := at.Label("volume", name)
		v.name(where, "volume name", name)
		v.check(r.Type != "", where, `volume has no type; write type = "host" or "csi"`)
		v.check(r.Source != "", where, "volume has an empty source; write the volume's name")
		if r.PerAlloc {
			path := where.Field("per_alloc")
			v.check(!v.job.OnEveryNode(), path, "volume cannot be per_alloc for %s jobs: their instances have no numbers", v.job.Type)
			v.check(g.Update == nil || g.Update.Canary == 0, path, "volume cannot be per_alloc when canaries are in use")
			v.check(!r.Sticky, path, "volume cannot be per_alloc and sticky: remove one")
		}
		switch r.Type {
		case "host":
			v.check(r.MountOptions == nil, where.Field("mount_options"), "host volumes cannot have mount options")
			v.accessMode(where, r, hostAccess)
		case "csi":
			v.check(r.AccessMode != "", where, "CSI volumes must have an access mode; write access_mode")
			v.check(r.AttachmentMode != "", where, `CSI volumes must have an attachment mode; write attachment_mode = "file-system" or "block-device"`)
			v.check(!r.Sticky, where.Field("sticky"), "CSI volumes cannot be sticky")
			v.accessMode(where, r, csiAccess)
			single := strings.HasPrefix(r.AccessMode, "single-node-")
			v.check(!single || r.PerAlloc || g.Count <= 1, where.Field("access_mode"), "volume with %s access mode allows only one instance, and the group has %d: write per_alloc = true", r.AccessMode, g.Count)
		}
	}
}

func (v *validator) accessMode(at Path, r *VolumeRequest, known []string) {
	mode := at.Field("access_mode")
	v.check(r.AccessMode == "" || slices.Contains(known, r.AccessMode), mode, "access_mode must be %s, have %s%s", oneOf(known), quote(r.AccessMode), didYouMean(r.AccessMode, known))
	v.check(!strings.HasSuffix(r.AccessMode, "-reader-only") || r.ReadOnly, mode, "%s volumes must be read-only; write read_only = true", r.AccessMode)
}

func (v *validator) volumeMounts(at Path, g *TaskGroup, mounts []VolumeMount) {
	for i, m := range mounts {
		where := at.Index("volume_mount", i)
		v.check(m.Volume != "", where, "Volume Mount (%d) references an empty volume; write volume", i)
		if g.Volumes[m.Volume] == nil && m.Volume != "" {
			v.check(false, where.Field("volume"), "Volume Mount (%d) references undefined volume %s; write a volume block of that name into the group%s", i, quote(m.Volume), didYouMean(m.Volume, names(g.Volumes)))
		}
		v.warn(m.Destination == "", where, "a volume without a destination is seen nowhere: write one")
		v.check(m.SELinuxLabel == "" || m.SELinuxLabel == "z" || m.SELinuxLabel == "Z", where.Field("selinux_label"), `selinux_label must be "z" or "Z", have %s`, quote(m.SELinuxLabel))
	}
}

func (v *validator) csiPlugin(at Path, c *CSIPluginConfig) {
	if c == nil {
		return
	}
	v.check(c.ID != "", at, "CSIPluginConfig must have a non-empty PluginID; write id")
	v.check(c.Type != "", at, `CSIPluginConfig PluginType must be one of "node", "controller" or "monolith"; write type`)
}
