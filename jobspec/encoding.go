package jobspec

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/big"
	"net/netip"
	"net/url"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/gocty"

	"github.com/a43e60e4/cluster"
)

// onText is a function from one text to another.
func onText(f func(text string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			result, err := f(args[0].AsString())
			return cty.StringVal(result), err
		},
	})
}

var (
	base64Encode = onText(func(text string) (string, error) { return base64.StdEncoding.EncodeToString([]byte(text)), nil })
	base64Decode = onText(func(text string) (string, error) {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return "", fmt.Errorf("not base64: %w", err)
		}
		if !utf8.Valid(raw) {
			return "", errors.New("the decoded bytes are no text")
		}
		return string(raw), nil
	})
	urlEncode = onText(func(text string) (string, error) { return url.QueryEscape(text), nil })

	md5Hash    = digest(md5.New)
	sha1Hash   = digest(sha1.New)
	sha256Hash = digest(sha256.New)
	sha512Hash = digest(sha512.New)
)

func digest(algorithm func() hash.Hash) function.Function {
	return onText(func(text string) (string, error) {
		h := algorithm()
		io.WriteString(h, text) // a hash never fails
		return hex.EncodeToString(h.Sum(nil)), nil
	})
}

// uuidSpaces are the namespaces of RFC 9562 that have names.
var uuidSpaces = map[string]string{
	"dns": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "url": "6ba7b811-9dad-11d1-80b4-00c04fd430c8",
	"oid": "6ba7b812-9dad-11d1-80b4-00c04fd430c8", "x500": "6ba7b814-9dad-11d1-80b4-00c04fd430c8",
}

var uuidV5 = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "namespace", Type: cty.String}, {Name: "name", Type: cty.String}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		space := args[0].AsString()
		if known, ok := uuidSpaces[space]; ok {
			space = known
		}
		id, err := cluster.ParseID(space)
		if err != nil || id.IsZero() {
			return cty.NilVal, errors.New("the namespace is dns, url, oid, x500 or a UUID")
		}
		sum := sha1.Sum(append(id[:], args[1].AsString()...))
		return cty.StringVal(uuid([16]byte(sum[:16]), 5)), nil
	},
})

// uuid writes 16 bytes as a UUID of the given version.
func uuid(b [16]byte, version byte) string {
	b[6] = b[6]&0x0f | version<<4
	b[8] = b[8]&0x3f | 0x80
	return cluster.ID(b).String()
}

func (p *parser) uuidV4() function.Function {
	if p.config.Random == nil {
		return refusal("uuidv4 is not supported here: the same file must give the same job")
	}
	return function.New(&function.Spec{
		Type: function.StaticReturnType(cty.String),
		Impl: func([]cty.Value, cty.Type) (cty.Value, error) {
			var b [16]byte
			if _, err := io.ReadFull(p.config.Random, b[:]); err != nil {
				return cty.NilVal, fmt.Errorf("read random bits: %w", err)
			}
			return cty.StringVal(uuid(b, 4)), nil
		},
	})
}

// onPrefix is a function from an IP prefix and numbers.
func onPrefix(params []string, rest *function.Parameter, result cty.Type, f func(prefix netip.Prefix, numbers []int64) (any, error)) function.Function {
	spec := &function.Spec{
		Params:   []function.Parameter{{Name: "prefix", Type: cty.String}},
		VarParam: rest,
		Type:     function.StaticReturnType(result),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			prefix, err := netip.ParsePrefix(args[0].AsString())
			if err != nil {
				return cty.NilVal, fmt.Errorf("not a prefix such as 10.0.0.0/8: %w", err)
			}
			numbers := make([]int64, len(args)-1)
			for i, arg := range args[1:] {
				if err := gocty.FromCtyValue(arg, &numbers[i]); err != nil {
					return cty.NilVal, err
				}
			}
			value, err := f(prefix.Masked(), numbers)
			if err != nil {
				return cty.NilVal, err
			}
			return gocty.ToCtyValue(value, result)
		},
	}
	for _, name := range params {
		spec.Params = append(spec.Params, function.Parameter{Name: name, Type: cty.Number})
	}
	return function.New(spec)
}

var (
	cidrHost = onPrefix([]string{"hostnum"}, nil, cty.String, func(prefix netip.Prefix, n []int64) (any, error) {
		offset := big.NewInt(n[0])
		size := new(big.Int).Lsh(big.NewInt(1), uint(prefix.Addr().BitLen()-prefix.Bits()))
		if offset.Sign() < 0 {
			offset.Add(size, offset)
		}
		if offset.Sign() < 0 || offset.Cmp(size) >= 0 {
			return nil, fmt.Errorf("prefix %s has no host %d", prefix, n[0])
		}
		return plus(prefix.Addr(), offset).String(), nil
	})
	cidrNetmask = onPrefix(nil, nil, cty.String, func(prefix netip.Prefix, _ []int64) (any, error) {
		if !prefix.Addr().Is4() {
			return nil, errors.New("only IPv4 has netmasks")
		}
		all, _ := netip.AddrFrom4([4]byte{255, 255, 255, 255}).Prefix(prefix.Bits())
		return all.Addr().String(), nil
	})
	cidrSubnet = onPrefix([]string{"newbits", "netnum"}, nil, cty.String, func(prefix netip.Prefix, n []int64) (any, error) {
		bits := int64(prefix.Bits()) + n[0]
		if n[0] < 0 || bits > int64(prefix.Addr().BitLen()) {
			return nil, fmt.Errorf("prefix %s can not be extended by %d bits", prefix, n[0])
		}
		number := big.NewInt(n[1])
		if number.Sign() < 0 || number.BitLen() > int(n[0]) {
			return nil, fmt.Errorf("%d bits have no network %d", n[0], n[1])
		}
		offset := number.Lsh(number, uint(int64(prefix.Addr().BitLen())-bits))
		return netip.PrefixFrom(plus(prefix.Addr(), offset), int(bits)).String(), nil
	})
	cidrSubnets = onPrefix(nil, &function.Parameter{Name: "newbits", Type: cty.Number}, cty.List(cty.String),
		func(prefix netip.Prefix, n []int64) (any, error) {
			length := prefix.Addr().BitLen()
			end := new(big.Int).Lsh(big.NewInt(1), uint(length-prefix.Bits()))
			next, subnets := new(big.Int), []string{}
			for _, newBits := range n {
				bits := int64(prefix.Bits()) + newBits
				if newBits < 1 || bits > int64(length) {
					return nil, fmt.Errorf("prefix %s can not be extended by %d bits", prefix, newBits)
				}
				size := new(big.Int).Lsh(big.NewInt(1), uint(int64(length)-bits))
				// A network starts at a multiple of its size.
				next.Add(next, size).Sub(next, big.NewInt(1)).Div(next, size).Mul(next, size)
				subnets = append(subnets, netip.PrefixFrom(plus(prefix.Addr(), next), int(bits)).String())
				if next.Add(next, size).Cmp(end) > 0 {
					return nil, fmt.Errorf("prefix %s has not enough room for all networks", prefix)
				}
			}
			return subnets, nil
		})
)

// plus is the address that is offset after base. The sum must be an address of the same kind.
func plus(base netip.Addr, offset *big.Int) netip.Addr {
	sum := new(big.Int).SetBytes(base.AsSlice())
	raw := make([]byte, len(base.AsSlice()))
	address, _ := netip.AddrFromSlice(sum.Add(sum, offset).FillBytes(raw))
	return address
}
