package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/jobspec"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

// jobFileFlags say how a job file is to be read.
func jobFileFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "var", Usage: "give variable `NAME=VALUE`; may be repeated. Others on this machine see it: for a secret, use -var-file or CLUSTER_VAR_NAME"},
		&cli.StringSliceFlag{Name: "var-file", Usage: "take values of variables from `FILE|-`; may be repeated, later ones win"},
		&cli.BoolFlag{Name: "json", Usage: "the file is the API's JSON"},
		&cli.BoolFlag{Name: "hcl2-strict", Value: true, Usage: "refuse values for variables that the file does not declare"},
	}
}

func (p *program) jobRun(name string) *cli.Command {
	return p.command(verb{
		name: name, short: "submit a job, and follow until it is healthy, complete or failed", args: "FILE|URL|-", min: 1, max: 1,
		long: "A service job is followed until its deployment is successful, a batch job until it is complete, a system job\n" +
			"until it runs everywhere. Status: 0 done, 1 error, 2 not placed or failed; 130 when interrupted: the job goes on.",
		example: "cluster job run web.hcl\ncluster job run -var count=3 -detach web.hcl\ncluster job run -check-index 42 web.hcl\ncluster job run -var-file - web.hcl < secrets.hcl",
		flags: append(jobFileFlags(), detachFlag(), verboseFlag(),
			&cli.StringFlag{Name: "check-index", Usage: "only if the job's modify index is still `N`; 0: only if there is no such job"},
			&cli.BoolFlag{Name: "output", Usage: "print the job as JSON and submit nothing"},
			&cli.BoolFlag{Name: "preserve-counts", Usage: "leave the counts of groups that exist as they are"},
			&cli.BoolFlag{Name: "preserve-resources", Usage: "leave the resources of tasks that exist as they are"},
			policyFlag(),
			&cli.StringFlag{Name: "eval-priority", Usage: "plan with priority `N`, 1 to 100, instead of the job's"}),
		run: runJob,
	})
}

func runJob(c *call) error {
	file, err := readJobFile(c, c.Args().First())
	if err != nil {
		return err
	}
	if c.Bool("output") {
		c.out.warnJob(append(file.refused, file.warnings...))
		return c.out.json(map[string]any{"Job": file.job})
	}
	if len(file.refused) > 0 {
		return cluster.Errorf(cluster.CodeRejected, "%s", strings.Join(file.refused, "\n"))
	}
	options := api.RegisterOptions{Submission: file.submission, PreserveCounts: c.Bool("preserve-counts"), PreserveResources: c.Bool("preserve-resources")}
	c.warnPolicies()
	if options.CheckIndex, err = c.checkIndex(); err != nil {
		return err
	}
	if options.EvalPriority, err = c.evalPriority(); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	answer, err := client.RegisterJob(c.ctx(), file.job, options)
	if err != nil {
		return explainIndex(err, "cluster job plan "+shellQuoted(c.Args().First()))
	}
	c.out.warnJob(file.with(answer.Warnings))
	if file.job.Stop {
		c.out.warn("the job is a stopped one (its JSON has \"Stop\": true): nothing of it runs; `%s` begins it", c.jobCommand("start", file.job.Key()))
	}
	if file.job.IsTemplate() {
		c.registered(file.job)
		return nil
	}
	if c.Bool("detach") {
		c.out.line("Job registration successful\nEvaluation ID: %s", answer.EvalID)
		return nil
	}
	job, _, err := client.Job(c.ctx(), file.job.ID, api.Query{Namespace: file.job.Namespace})
	if err != nil {
		return err
	}
	goal := placed
	if job.Stop {
		goal = stopped
	}
	return c.follow(client, following{job: job, eval: answer.EvalID, goal: goal, whole: c.Bool("verbose")})
}

// checkIndex is the index that a job must have to be changed, nil if the flag was not given. An empty one, as of a variable of a script that
// is not set, is an error: it would protect from nothing.
func (c *call) checkIndex() (*uint64, error) {
	if !c.IsSet("check-index") {
		return nil, nil
	}
	index, err := strconv.ParseUint(c.String("check-index"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("read flag -check-index %q: want a number, the job's modify index", clip(c.String("check-index")))
	}
	return &index, nil
}

// explainIndex adds where to look at a job that has another index than it was to have.
func explainIndex(err error, look string) error {
	if err != nil && strings.Contains(err.Error(), "Enforcing job modify index") {
		return fmt.Errorf("%w; `%s` shows how it is now", err, look)
	}
	return err
}

// evalPriority is the priority that a change is to be planned with, 0 for the job's.
func (c *call) evalPriority() (int, error) {
	text := c.String("eval-priority")
	if text == "" {
		return 0, nil
	}
	priority, err := strconv.Atoi(text)
	if err != nil || priority < 1 || priority > 100 {
		return 0, fmt.Errorf("read flag -eval-priority %q: want a number from 1 to 100", clip(text))
	}
	return priority, nil
}

// policyFlag is known to scripts that were written for servers with policies.
func policyFlag() cli.Flag {
	return &cli.BoolFlag{Name: "policy-override", Usage: "submit against policies that may be overridden: there are none"}
}

// warnPolicies says that -policy-override, if it was given, changes nothing.
func (c *call) warnPolicies() {
	if c.Bool("policy-override") {
		c.out.warn("-policy-override changes nothing: there are no policies that could refuse a job")
	}
}

func (p *program) jobValidate(name string) *cli.Command {
	return p.command(verb{
		name: name, short: "check a job file, here and, where one answers, by the agent", args: "FILE|URL|-", min: 1, max: 1,
		example: "cluster job validate web.hcl", flags: jobFileFlags(),
		run: func(c *call) error {
			file, err := readJobFile(c, c.Args().First())
			if err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			answer, err := client.ValidateJob(c.ctx(), file.job)
			if err == nil {
				c.out.warnJob(append(file.refused, file.with(answer.Warnings)...))
			} else {
				c.out.warnJob(append(file.refused, file.warnings...))
			}
			if away, ok := errors.AsType[*unreachable](c.explain(err)); ok {
				c.out.line("Job validation successful, without the cluster's part: no agent answers at %s", away.address)
				c.out.notRun(file)
				return nil
			}
			if err != nil {
				return err
			}
			if problems := answer.ValidationErrors; len(problems) > 0 || answer.Error != "" {
				if len(problems) == 0 { // the one text says the same as the list
					problems = []string{answer.Error}
				}
				return cluster.Errorf(cluster.CodeInvalid, "validate job %q: %s", file.job.ID, strings.TrimSpace(strings.Join(problems, "\n")))
			}
			c.out.line("Job validation successful")
			c.out.notRun(file)
			return nil
		},
	})
}

// notRun says that a valid job is not run all the same. Its warnings, of which those that refuse it come first, were shown.
func (o *output) notRun(file jobFile) {
	switch n := len(file.refused); n {
	case 0:
	case 1:
		o.line("`cluster job run` refuses this job as it is, for the first warning: it must not run without that.")
	default:
		o.line("`cluster job run` refuses this job as it is, for the first %d warnings: it must not run without that.", n)
	}
}

// jobFile is a job and the text that it was made from.
type jobFile struct {
	job        *cluster.Job
	submission *api.JobSubmission
	refused    []string // what it asks for and must not run without, each with its place
	warnings   []string // what else there is to say about it, each with its place
}

// with is the file's warnings, and those of a server that the file does not have.
func (f jobFile) with(server string) []string {
	all := f.warnings
	refused, _ := f.job.Missing()
	here := strings.Split(append(refused, f.job.Warnings()...).Lines(), "\n")
	for line := range strings.Lines(server) {
		if line = strings.TrimRight(line, "\n"); line != "" && !slices.Contains(here, line) {
			all = append(all, line)
		}
	}
	return all
}

// checkInputs refuses flags that say of a job file what would not come about.
func checkInputs(c *call, name string) error {
	files := append(c.StringSlice("var-file"), name)
	if c.Bool("json") && len(files)+len(c.StringSlice("var")) > 1 {
		return errors.New("read job file: the API's JSON has no variables: leave -var and -var-file out, or -json")
	}
	if i := slices.Index(files, "-"); i >= 0 && slices.Contains(files[i+1:], "-") {
		return errors.New("read job file: standard input (-) can be read once")
	}
	return nil
}

// readJobFile reads a job file as the flags of jobFileFlags say. The job is in the namespace that was chosen, unless
// its file names another than the default.
func readJobFile(c *call, name string) (jobFile, error) {
	if err := checkInputs(c, name); err != nil {
		return jobFile{}, err
	}
	text, shown, err := readSource(c, name)
	if err != nil {
		return jobFile{}, fmt.Errorf("read job file: %w", err)
	}
	file := jobFile{submission: &api.JobSubmission{Source: string(text), Format: "hcl2"}}
	if c.Bool("json") {
		file.submission.Format = "json"
		err = file.readJSON(text)
	} else {
		err = file.readHCL(c, shown, text)
	}
	if err != nil {
		return jobFile{}, err
	}
	job := file.job
	if job.Namespace == cluster.DefaultNamespace {
		job.Namespace = c.setting("namespace", "NAMESPACE", job.Namespace)
	}
	if job.Namespace == cluster.AllNamespaces {
		return jobFile{}, fmt.Errorf("read job file %s: a job is in one namespace: choose it with -namespace", shown)
	}
	return file, nil
}

// readSource reads a job file: as readFile does, or what is at an address of http or https.
func readSource(c *call, name string) (text []byte, shown string, err error) {
	if isAddress(name) {
		text, err := fetch(c.ctx(), name)
		return text, withoutPassword(name), err
	}
	return readFile(c, name)
}

// readFile reads a file, or standard input for "-", no further than a job may be long.
func readFile(c *call, name string) (text []byte, shown string, err error) {
	from, shown := c.program.stdin, "<stdin>"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, name, err
		}
		defer f.Close()
		from, shown = f, name
	}
	text, err = io.ReadAll(io.LimitReader(from, cluster.MaxJobSize+1))
	return text, shown, err
}

func isAddress(name string) bool {
	return strings.HasPrefix(name, "https://") || strings.HasPrefix(name, "http://")
}

// withoutPassword is an address as messages may show it.
func withoutPassword(address string) string {
	if u, err := url.Parse(address); err == nil {
		return u.Redacted()
	}
	return "the address"
}

// fetch reads what is at an address of the web.
func fetch(ctx context.Context, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch %s: it answers %q", clip(withoutPassword(address)), answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, cluster.MaxJobSize+1))
}

// readJSON reads a job, or an object that holds one as the API's do.
func (f *jobFile) readJSON(text []byte) error {
	if err := cluster.CheckJobSize("job", len(text)); err != nil {
		return err
	}
	var wrapper struct{ Job json.RawMessage }
	if err := json.Unmarshal(text, &wrapper); err == nil && len(bytes.TrimSpace(wrapper.Job)) > 0 {
		text = wrapper.Job
	}
	job, err := cluster.DecodeJob(text)
	if err != nil {
		return err
	}
	f.job = job
	refused, _ := job.Missing()
	f.refused, f.warnings = texts(refused), texts(slices.Concat(job.Warnings(), cluster.Unread(text), checkConfigs(job)))
	return job.Validate().Err()
}

// texts are things to say as a person reads them.
func texts[T fmt.Stringer](list []T) []string {
	all := make([]string, len(list))
	for i, one := range list {
		all[i] = one.String()
	}
	return all
}

func (f *jobFile) readHCL(c *call, name string, text []byte) error {
	dir := "."
	if name != "<stdin>" && !isAddress(name) {
		dir = filepath.Dir(name)
	}
	config := jobspec.Config{
		File:      jobspec.File{Name: name, Text: text},
		Variables: map[string]string{},
		Environ:   os.Environ(),
		Lenient:   !c.Bool("hcl2-strict"),
		Dirs:      []string{dir, "."},
		Check:     checkConfigs,
		Random:    rand.Reader,
	}
	for _, v := range c.StringSlice("var") {
		key, value, found := strings.Cut(v, "=")
		if !found || key == "" {
			return fmt.Errorf("read flag -var %q: want -var NAME=VALUE", clip(v))
		}
		config.Variables[key] = value
	}
	for _, path := range c.StringSlice("var-file") {
		values, shown, err := readFile(c, path)
		if err != nil {
			return fmt.Errorf("read variables: %w", err)
		}
		config.VariableFiles = append(config.VariableFiles, jobspec.File{Name: shown, Text: values})
	}
	f.submission.VariableFlags = usedVariables(config)
	result, err := jobspec.Parse(config)
	if err != nil {
		return err
	}
	if len(config.VariableFiles) > 0 {
		f.submission.Variables = jobspec.Values(config.VariableFiles)
	}
	f.job, f.refused, f.warnings = result.Job, texts(result.Refused), texts(result.Warnings)
	return nil
}
