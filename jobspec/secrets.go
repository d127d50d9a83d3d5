package jobspec

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"golang.org/x/crypto/bcrypt"
)

const (
	// maxBcryptCost bounds how long one hash takes: about a second.
	maxBcryptCost = 14
	// maxPrivateKey is how many bytes of a private key are read: larger ones than those of 8192 bits take long to check.
	maxPrivateKey = 8 << 10
	// decryptCost is what it takes to read a private key and to use it, as work of expressions.
	decryptCost = 256 << 10
)

// bcrypt is the function bcrypt(text, [cost]). Its salt is drawn by chance: each time the job is another.
func (p *parser) bcrypt() function.Function {
	if p.config.Random == nil {
		return refusal("bcrypt is not supported here: the same file must give the same job")
	}
	return function.New(&function.Spec{
		Params:   []function.Parameter{{Name: "text", Type: cty.String}},
		VarParam: &function.Parameter{Name: "cost", Type: cty.Number},
		Type:     function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			cost := bcrypt.DefaultCost
			if len(args) > 2 {
				return cty.NilVal, errors.New("bcrypt takes a text and a cost")
			}
			if len(args) == 2 {
				number, _ := args[1].AsBigFloat().Int64()
				if number < int64(bcrypt.MinCost) || number > maxBcryptCost || !args[1].AsBigFloat().IsInt() {
					return cty.NilVal, fmt.Errorf("the cost must be a whole number from %d to %d", bcrypt.MinCost, maxBcryptCost)
				}
				cost = int(number)
			}
			if err := p.spend(400 << cost); err != nil {
				return cty.NilVal, err
			}
			hash, err := bcrypt.GenerateFromPassword([]byte(args[0].AsString()), cost)
			return cty.StringVal(string(hash)), err
		},
	})
}

// rsaDecrypt is the function rsadecrypt(ciphertext, key): of a text in base64 and a private key in PEM.
func (p *parser) rsaDecrypt() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "ciphertext", Type: cty.String}, {Name: "privatekey", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if err := p.spend(decryptCost); err != nil {
				return cty.NilVal, err
			}
			sealed, err := base64.StdEncoding.DecodeString(args[0].AsString())
			if err != nil {
				return cty.NilVal, errors.New("the ciphertext is not base64")
			}
			key, err := privateKey(args[1].AsString())
			if err != nil {
				return cty.NilVal, err
			}
			//lint:ignore SA1019 it is what the function of the language takes, and nobody can ask it again and again
			text, err := rsa.DecryptPKCS1v15(nil, key, sealed)
			if err != nil {
				return cty.NilVal, errors.New("the ciphertext was not made for this key")
			}
			return cty.StringVal(string(text)), nil
		},
	})
}

// privateKey reads an RSA key. No error repeats what was read.
func privateKey(text string) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || len(text) > maxPrivateKey {
		return nil, fmt.Errorf("the private key is not PEM of at most %d bytes", maxPrivateKey)
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if key, ok := any.(*rsa.PrivateKey); ok && err == nil {
		return key, nil
	}
	return nil, errors.New("the private key is no RSA key in the form PKCS #1 or PKCS #8 without a password")
}
