package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) operatorAPI() *cli.Command {
	return p.command(verb{
		name: "api", short: "send a request to the HTTP API, print the answer as it comes", args: "PATH [BODY-FILE|-]", min: 1, max: 2,
		example: "cluster operator api /v1/jobs\ncluster operator api -X PUT /v1/jobs job.json",
		flags:   []cli.Flag{&cli.StringFlag{Name: "X", Usage: "the `METHOD`: GET, PUT or DELETE (GET; with a body PUT)"}},
		run:     callAPI,
	})
}

func callAPI(c *call) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	target, err := url.Parse(c.Args().First())
	if err != nil || target.IsAbs() {
		return fmt.Errorf("read path %q: want one such as /v1/jobs?prefix=web", clip(c.Args().First()))
	}
	path := "/" + strings.TrimPrefix(target.EscapedPath(), "/")
	if !strings.HasPrefix(path, "/v1/") {
		path = "/v1" + path
	}
	q := api.Query{Params: target.Query()}
	method, body, err := requestBody(c)
	if err != nil {
		return err
	}
	var answer json.RawMessage
	switch method {
	case http.MethodGet:
		stream, err := client.Stream(c.ctx(), path, q)
		if err != nil {
			return err
		}
		defer stream.Close()
		_, err = io.Copy(c.program.stdout, stream)
		return err
	case http.MethodPut, http.MethodPost:
		var in any
		if body != nil {
			in = body
		}
		_, err = client.Put(c.ctx(), path, q, in, &answer)
	case http.MethodDelete:
		_, err = client.Delete(c.ctx(), path, q, &answer)
	default:
		return fmt.Errorf("read flag -X %q: want GET, PUT or DELETE", clip(method))
	}
	if err != nil {
		return err
	}
	return c.out.json(answer)
}

// requestBody is the method that was asked for or follows from there being a body, and the body, nil for none.
func requestBody(c *call) (string, io.Reader, error) {
	method := strings.ToUpper(c.String("X"))
	if c.NArg() < 2 {
		if method == "" {
			method = http.MethodGet
		}
		return method, nil, nil
	}
	if method == "" {
		method = http.MethodPut
	}
	if c.Args().Get(1) == "-" {
		return method, c.program.stdin, nil
	}
	text, err := os.ReadFile(c.Args().Get(1))
	if err != nil {
		return "", nil, fmt.Errorf("read body: %w", err)
	}
	return method, strings.NewReader(string(text)), nil
}
