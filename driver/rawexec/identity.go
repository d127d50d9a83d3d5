package rawexec

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/a43e60e4/cluster/driver"
)

// idRanges are numbers of users or groups, written like "0,10-20".
type idRanges []idRange

type idRange struct{ first, last uint32 }

func (all idRanges) has(id uint32) bool {
	return slices.ContainsFunc(all, func(r idRange) bool { return r.first <= id && id <= r.last })
}

// parseIDs reads an option; "" is none.
func parseIDs(option, text string) (idRanges, error) {
	var all idRanges
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		low, high, both := strings.Cut(part, "-")
		if !both {
			high = low
		}
		first, ok := number(strings.TrimSpace(low))
		last, ok2 := number(strings.TrimSpace(high))
		if !ok || !ok2 || first > last {
			return nil, fmt.Errorf(`option %q must be numbers and ranges like "0,10-20": %q is none`, option, strings.TrimSpace(part))
		}
		all = append(all, idRange{first, last})
	}
	return all, nil
}

func number(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil
}

// identity is whom a task runs as.
type identity struct {
	uid    uint32
	groups []uint32 // the primary one and those beside it
}

// allow refuses a task whose user, or one of whose groups, the node denies.
func (o Options) allow(t driver.Task) error {
	uids, err := parseIDs("denied_host_uids", o.DeniedUIDs)
	if err != nil {
		return err
	}
	gids, err := parseIDs("denied_host_gids", o.DeniedGIDs)
	if err != nil || uids == nil && gids == nil {
		return err
	}
	who, err := identify(t.User)
	if err != nil {
		return driver.Invalidf("start task %q: %w", t.Name, err)
	}
	name := "the agent's own user"
	if t.User != "" {
		name = fmt.Sprintf("user %q", t.User)
	}
	const remedy = "give the task another `user`"
	if uids.has(who.uid) {
		return driver.Invalidf(`start task %q: %s has the number %d, which this node's plugin "raw_exec" denies (denied_host_uids): %s`, t.Name, name, who.uid, remedy)
	}
	for _, gid := range who.groups {
		if gids.has(gid) {
			return driver.Invalidf(`start task %q: %s is in the group %d, which this node's plugin "raw_exec" denies (denied_host_gids): %s`, t.Name, name, gid, remedy)
		}
	}
	return nil
}

// identify finds whom "name", "1000", "name:group" or "1000:1000" means on this machine; "" is this process's own user,
// which is the supervisor's. A number that no file knows is its own group.
func identify(text string) (identity, error) {
	if text == "" {
		own, err := os.Getgroups()
		if err != nil {
			return identity{}, fmt.Errorf("look up own groups: %w", err)
		}
		who := identity{uid: uint32(os.Geteuid()), groups: []uint32{uint32(os.Getegid())}}
		for _, gid := range own {
			who.groups = append(who.groups, uint32(gid))
		}
		return who, nil
	}
	name, group, _ := strings.Cut(text, ":")
	id, numeric := number(name)
	found, err := user.Lookup(name)
	if err != nil && numeric {
		found, err = user.LookupId(name)
	}
	who := identity{uid: id}
	primary := id
	switch {
	case err == nil:
		who.uid, _ = number(found.Uid)
		primary, _ = number(found.Gid)
		beside, err := found.GroupIds()
		if err != nil {
			return identity{}, fmt.Errorf("look up groups of user %q: %w", name, err)
		}
		for _, text := range beside {
			if gid, ok := number(text); ok {
				who.groups = append(who.groups, gid)
			}
		}
	case !numeric:
		return identity{}, fmt.Errorf("look up user %q: no such user on this machine", name)
	}
	if group != "" {
		var ok bool
		if found, err := user.LookupGroup(group); err == nil {
			primary, ok = number(found.Gid)
		} else {
			primary, ok = number(group)
		}
		if !ok {
			return identity{}, fmt.Errorf("look up group %q: no such group on this machine", group)
		}
	}
	who.groups = append(who.groups, primary)
	return who, nil
}
