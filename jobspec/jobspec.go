// Package jobspec turns the text of a job file into a cluster.Job.
//
// It reads HCL2 in both syntaxes. The walk over a file follows the types of the root package by their `hcl` tags and
// makes the JSON of the job, which cluster.DecodeJob completes; a map from places in the job to places in the file
// lets every problem, whoever finds it, name its line. References to names that only a node knows, such as
// ${attr.kernel.name}, stay in the job as they were written.
package jobspec

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"

	"github.com/a43e60e4/cluster"
)

// File is a text and the name that errors call it by.
type File struct {
	Name string
	Text []byte
}

// Config is a job file and what it may refer to. The zero value of everything but File is fine.
type Config struct {
	File          File
	VariableFiles []File            // values of variables; later files win
	Variables     map[string]string // values of variables as given on a command line; they win over files
	Environ       []string          // "CLUSTER_VAR_x=…" and "NOMAD_VAR_x=…" give values that files win over
	Lenient       bool              // values for variables that are not declared are ignored instead of refused

	// Dirs are where file functions look for relative paths: the first directory that has the file wins.
	// Without any the functions are refused, as they must be on a server.
	Dirs []string
	// Check finds what else there is to warn of in a valid job; nil finds nothing.
	Check func(*cluster.Job) cluster.Problems
	// Random is where uuidv4 takes its bits from; nil refuses the function.
	Random io.Reader
}

// Result is a valid job and what there is to say about it.
type Result struct {
	// Job is complete but for what is the server's to choose: see cluster.DecodeDraft.
	Job *cluster.Job
	// Refused is what the job asks for and must not run without. Servers refuse a job with any.
	Refused Diagnostics
	// Warnings are what is probably not meant, and what the job asks for and does not get.
	Warnings Diagnostics
}

// Parse reads a job file into a valid job. It touches nothing but the files that file functions name.
//
// The error wraps Diagnostics and has CodeInvalid, or is of CodeTooLarge. Its text is for people: one paragraph for
// each problem, with file, line and the line itself.
func Parse(c Config) (*Result, error) {
	for _, f := range slices.Concat([]File{c.File}, c.VariableFiles) {
		if err := cluster.CheckJobSize(f.Name, len(f.Text)); err != nil {
			return nil, err
		}
	}
	p := &parser{
		config:  c,
		files:   map[string][]byte{c.File.Name: c.File.Text},
		ranges:  map[cluster.Path]hcl.Range{},
		aliases: map[cluster.Path]cluster.Path{},
		budget:  maxWork,
		hidden:  map[string]string{},
	}
	job := p.file()
	if p.diags.HasErrors() {
		return nil, cluster.Errorf(cluster.CodeInvalid, "%w", p.diagnostics(p.diags))
	}
	warnings := p.review.Warnings
	if c.Check != nil {
		warnings = slices.Concat(warnings, c.Check(job))
	}
	for _, problem := range warnings {
		p.warnings = append(p.warnings, p.locate(problem))
	}
	return &Result{job, p.located(p.review.Refused), p.diagnostics(p.warnings)}, nil
}

// parser is the work on one job file.
type parser struct {
	config     Config
	files      map[string][]byte // texts by name, for showing lines
	diags      hcl.Diagnostics
	warnings   hcl.Diagnostics
	ranges     map[cluster.Path]hcl.Range    // where the parts of the job were written
	aliases    map[cluster.Path]cluster.Path // parts of the job that were written as others
	budget     int                           // what expressions may still cost
	expanded   int                           // blocks made by dynamic blocks
	shorthands []any                         // groups made of tasks that stand directly in the job
	root       *hcl.EvalContext              // var, local and the functions
	review     cluster.Review                // of the job
	hidden     map[string]string             // pieces of values that no message may show → where the value is
}

var rootSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
	{Type: "job", LabelNames: []string{"name"}},
	{Type: "variable", LabelNames: []string{"name"}},
	{Type: "variables"},
	{Type: "locals"},
}}

// file reads the whole file; what is wrong is in p.diags afterwards.
func (p *parser) file() *cluster.Job {
	body := p.parse(p.config.File)
	if body == nil {
		return nil
	}
	content, diags := body.Content(rootSchema)
	if diags.HasErrors() && p.isObject() {
		p.problem(body.MissingItemRange(), "Not a job file", "This is a job in the API's JSON, as `job inspect` and `job run -output` print it: read it with -json.")
		return nil
	}
	p.diags = append(p.diags, diags...)
	blocks := content.Blocks.ByType()
	p.root = newScope()
	p.variables(blocks["variable"], blocks["variables"])
	if p.diags.HasErrors() {
		return nil
	}
	p.locals(blocks["locals"])
	jobs := blocks["job"]
	switch {
	case len(jobs) == 0:
		p.problem(body.MissingItemRange(), "Missing job block", `A "job" block is required: job "name" { … }.`)
	case len(jobs) > 1:
		p.problem(jobs[1].DefRange, "Duplicate job block", `Only one block of type "job" is allowed. Previous definition was at `+jobs[0].DefRange.String()+".")
	}
	if p.diags.HasErrors() {
		return nil
	}
	return p.job(jobs[0])
}

// isObject reports whether the file is a job as the API has it, and no job file at all.
func (p *parser) isObject() bool {
	var object struct {
		Job, TaskGroups json.RawMessage
		Lower           json.RawMessage `json:"job"`
	}
	err := json.Unmarshal(p.config.File.Text, &object)
	return err == nil && object.Lower == nil && (object.Job != nil || object.TaskGroups != nil)
}

// parse reads one file of either syntax; nil if it is no HCL.
func (p *parser) parse(f File) hcl.Body {
	p.files[f.Name] = f.Text
	if problem := checkText(f); problem != nil {
		p.diags = append(p.diags, problem)
		return nil
	}
	var file *hcl.File
	var diags hcl.Diagnostics
	if bytes.HasPrefix(bytes.TrimSpace(f.Text), []byte("{")) {
		if problem := checkJSONNesting(f); problem != nil {
			p.diags = append(p.diags, problem)
			return nil
		}
		file, diags = hcljson.Parse(f.Text, f.Name)
	} else {
		if problem := checkNesting(f, hclsyntax.LexConfig); problem != nil {
			p.diags = append(p.diags, problem)
			return nil
		}
		file, diags = hclsyntax.ParseConfig(f.Text, f.Name, hcl.InitialPos)
	}
	p.diags = append(p.diags, diags...)
	if file == nil || diags.HasErrors() {
		return nil
	}
	return file.Body
}

// job walks over the job block, and has the result completed and checked.
func (p *parser) job(block *hcl.Block) *cluster.Job {
	noun := reflect.TypeFor[cluster.Job]()
	for _, path := range []cluster.Path{"", "id", "name"} {
		p.ranges[path] = block.DefRange
	}
	tree := p.noun(place{block, p.root}, noun, "")
	if len(p.shorthands) > 0 { // they come before the others
		groups, _ := tree["TaskGroups"].([]any)
		tree["TaskGroups"] = slices.Concat(p.shorthands, groups)
	}
	groups, _ := tree["TaskGroups"].([]any)
	var tasks []any
	for _, group := range groups {
		inner, _ := group.(map[string]any)["Tasks"].([]any)
		tasks = append(tasks, inner...)
	}
	pass(tree, tasks)
	p.warnID(tree, block)
	if _, written := tree["ID"]; !written {
		tree["ID"] = block.Labels[0]
	}
	if _, written := tree["Name"]; !written && tree["ID"] != block.Labels[0] {
		tree["Name"] = block.Labels[0]
	}
	if p.diags.HasErrors() {
		return nil
	}
	raw, err := json.Marshal(tree)
	if err != nil {
		p.problem(block.DefRange, "Invalid job", "The job cannot be written as JSON: "+err.Error()+".")
		return nil
	}
	job, err := cluster.DecodeDraft(raw)
	if err == nil {
		p.review = job.Review()
		err = p.review.Problems.Err()
	}
	if problems, ok := errors.AsType[cluster.Problems](err); ok {
		for _, problem := range problems {
			p.diags = append(p.diags, p.locate(problem))
		}
	} else if err != nil {
		p.problem(block.DefRange, "Invalid job", err.Error())
	}
	return job
}

// locate turns a problem of the job into one of the file.
func (p *parser) locate(problem cluster.Problem) *hcl.Diagnostic {
	text := problem.Text
	at := problem.Path
	for {
		if where, ok := p.found(at); ok {
			return &hcl.Diagnostic{Severity: hcl.DiagError, Detail: text, Subject: &where}
		}
		text = string(problem.Path) + ": " + problem.Text // the value is a default: name it
		at = at.Parent()
	}
}

// located are problems of the job as those of the file.
func (p *parser) located(problems cluster.Problems) Diagnostics {
	var diags hcl.Diagnostics
	for _, problem := range problems {
		diags = append(diags, p.locate(problem))
	}
	return p.diagnostics(diags)
}

func (p *parser) problem(at hcl.Range, summary, detail string) {
	p.diags = append(p.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: &at})
}

// place is a block and the names that have values in it.
type place struct {
	*hcl.Block
	scope *hcl.EvalContext
}
