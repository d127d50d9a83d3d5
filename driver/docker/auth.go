package docker

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
)

// credentials are those for the image's registry, as the engine wants them, "" if there are none: the task's own, else
// those of the node's file. They must not get into messages, labels or logs.
func (o Options) credentials(task string, c taskConfig, ref reference.Named) (string, error) {
	if c.Auth != nil {
		return encodeAuth(registry.AuthConfig{
			Username: c.Auth.Username, Password: c.Auth.Password, ServerAddress: c.Auth.ServerAddress,
		})
	}
	if o.Auth.Config == "" {
		return "", nil
	}
	auth, err := readAuth(o.Auth.Config, reference.Domain(ref))
	switch {
	case err != nil && c.AuthSoftFail:
		return "", nil
	case err != nil:
		return "", fmt.Errorf("start task %q: %w", task, err)
	case auth == nil:
		return "", nil
	}
	return encodeAuth(*auth)
}

func encodeAuth(a registry.AuthConfig) (string, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return "", fmt.Errorf("encode credentials: %w", err)
	}
	return base64.URLEncoding.EncodeToString(text), nil
}

// readAuth finds a registry's credentials in a file as `docker login` writes it; nil if it has none.
func readAuth(path, domain string) (*registry.AuthConfig, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read registry credentials: %w", err)
	}
	var file struct {
		Auths map[string]struct{ Auth, Username, Password, IdentityToken string }
	}
	if err := json.Unmarshal(content, &file); err != nil {
		return nil, fmt.Errorf("read registry credentials: %s is not JSON like that of docker login", path)
	}
	for address, entry := range file.Auths {
		if host(address) != host(domain) {
			continue
		}
		auth := registry.AuthConfig{
			Username: entry.Username, Password: entry.Password, IdentityToken: entry.IdentityToken, ServerAddress: address,
		}
		if entry.Auth != "" {
			pair, err := base64.StdEncoding.DecodeString(entry.Auth)
			user, password, ok := strings.Cut(string(pair), ":")
			if err != nil || !ok {
				return nil, fmt.Errorf("read registry credentials: %s has an entry for %s that is not base64 of user:password", path, address)
			}
			auth.Username, auth.Password = user, strings.TrimRight(password, "\x00")
		}
		return &auth, nil
	}
	return nil, nil
}

// host is the registry an address means: docker.io has several names.
func host(address string) string {
	_, after, ok := strings.Cut(address, "://")
	if ok {
		address = after
	}
	address, _, _ = strings.Cut(address, "/")
	if address == "index.docker.io" || address == "registry-1.docker.io" {
		return "docker.io"
	}
	return address
}
