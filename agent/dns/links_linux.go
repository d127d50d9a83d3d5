package dns

import (
	"encoding/binary"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// links asks the kernel for the interfaces of this network namespace. (What /sys shows may be those of another.)
func links() ([]link, error) {
	packet, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(packet)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var all []link
	for _, m := range messages {
		if m.Header.Type != syscall.RTM_NEWLINK || len(m.Data) < syscall.SizeofIfInfomsg {
			continue
		}
		attributes, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			return nil, fmt.Errorf("list interfaces: %w", err)
		}
		l := link{index: int(int32(binary.NativeEndian.Uint32(m.Data[4:])))}
		for _, a := range attributes {
			switch a.Attr.Type &^ unix.NLA_F_NESTED {
			case unix.IFLA_MASTER:
				if len(a.Value) >= 4 {
					l.master = int(binary.NativeEndian.Uint32(a.Value))
				}
			case unix.IFLA_LINKINFO:
				l.kind = kindOf(a.Value)
			}
		}
		all = append(all, l)
	}
	return all, nil
}

// kindOf finds the kind among the attributes of IFLA_LINKINFO.
func kindOf(data []byte) string {
	for len(data) >= unix.SizeofRtAttr {
		size, kind := int(binary.NativeEndian.Uint16(data)), binary.NativeEndian.Uint16(data[2:])
		if size < unix.SizeofRtAttr || size > len(data) {
			return ""
		}
		if kind == unix.IFLA_INFO_KIND {
			return strings.TrimRight(string(data[unix.SizeofRtAttr:size]), "\x00")
		}
		data = data[min((size+3)&^3, len(data)):]
	}
	return ""
}
