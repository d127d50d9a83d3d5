package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
)

// readComments are the doc comments of the root package's structs ("Job") and of their fields ("Job.ID").
func readComments(root string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(root, "*.go"))
	if err != nil {
		return nil, err
	}
	comments := map[string]string{}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, decl := range file.Decls {
			general, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range general.Specs {
				if named, ok := spec.(*ast.TypeSpec); ok {
					collect(comments, named, general.Doc)
				}
			}
		}
	}
	return comments, nil
}

func collect(comments map[string]string, named *ast.TypeSpec, doc *ast.CommentGroup) {
	noun, ok := named.Type.(*ast.StructType)
	if !ok {
		return
	}
	comments[named.Name.Name] = oneLine(doc.Text())
	for _, field := range noun.Fields.List {
		text := field.Doc.Text()
		if text == "" {
			text = field.Comment.Text()
		}
		for _, name := range field.Names {
			comments[named.Name.Name+"."+name.Name] = oneLine(text)
		}
	}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
