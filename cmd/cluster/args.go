package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/urfave/cli/v2"
)

// commandLine is what a user typed, sorted into the order that the flag library wants.
type commandLine struct {
	path []*cli.Command // from the top to the command named; empty for none
	argv []string       // names, flags, "--", arguments
	help bool           // -h was among the flags, or no command that does something was named
}

// arrange finds the command in args and moves its flags before its arguments. Flags may stand anywhere, with one dash
// or two, and before the command's name too where all commands have them; "--" ends them, "-" is an argument.
// Its errors name what was probably meant.
func arrange(commands []*cli.Command, args []string) (commandLine, error) {
	var line commandLine
	var flags, arguments []string
	verbs := commands // what the next word may name; nil once a command is complete
	for i := 0; i < len(args); i++ {
		word := args[i]
		switch {
		case word == "--":
			arguments = append(arguments, args[i+1:]...)
			i = len(args)
		case len(word) > 1 && word[0] == '-':
			if isHelp(word) {
				line.help = true
				continue
			}
			parsed, took, err := line.flag(commands, args[i:])
			if err != nil {
				return line, err
			}
			flags, i = append(flags, parsed), i+took
		case verbs != nil && len(line.path) == 0 && word == "help":
			line.help = true
		case verbs != nil:
			command := find(verbs, word)
			if command == nil {
				return line, unknownCommand(line.name(), verbs, word)
			}
			line.path = append(line.path, command)
			verbs = command.Subcommands
		default:
			arguments = append(arguments, word)
		}
	}
	if verbs != nil {
		line.help = true
		return line, nil
	}
	for _, c := range line.path {
		line.argv = append(line.argv, c.Name)
	}
	line.argv = append(append(append(line.argv, flags...), "--"), arguments...)
	return line, line.checkFlags(flags)
}

func isHelp(word string) bool {
	return slices.Contains([]string{"-h", "-help", "--h", "--help"}, word)
}

// name is the part of the command line that names the command: "cluster job run".
func (l commandLine) name() string {
	name := "cluster"
	for _, c := range l.path {
		name += " " + c.Name
	}
	return name
}

// flag reads the flag that args begin with, and reports in took how many further words belong to it.
// The result is one word, "-name" or "-name=value".
func (l commandLine) flag(commands []*cli.Command, args []string) (word string, took int, err error) {
	name, value, hasValue := strings.Cut(strings.TrimPrefix(args[0][1:], "-"), "=")
	known := l.flags(commands)
	f := findFlag(known, name)
	if f == nil {
		return "", 0, unknownFlag(l.name(), known, name)
	}
	switch {
	case hasValue && optionalNumber(f) && !isCount(value):
		return "", 0, fmt.Errorf("read flag -%s of `%s`: %q is no number of lines", name, l.name(), clip(value))
	case hasValue:
		return "-" + name + "=" + value, 0, nil
	case optionalNumber(f):
		if len(args) > 1 && isCount(args[1]) {
			return "-" + name + "=" + args[1], 1, nil
		}
		return "-" + name, 0, nil
	case !takesValue(f):
		return "-" + name, 0, nil
	case len(args) == 1:
		return "", 0, fmt.Errorf("read flag -%s of `%s`: it needs a value: -%s=VALUE", name, l.name(), name)
	}
	return "-" + name + "=" + args[1], 1, nil
}

// checkFlags refuses flags that stood before the command's name and that the command does not have.
func (l commandLine) checkFlags(flags []string) error {
	if l.help {
		return nil
	}
	known := l.path[len(l.path)-1].Flags
	for _, word := range flags {
		name, _, _ := strings.Cut(word[1:], "=")
		if findFlag(known, name) == nil {
			return unknownFlag(l.name(), known, name)
		}
	}
	return nil
}

// flags lists what may stand here: the flags of the command, those of all commands before one is named.
func (l commandLine) flags(commands []*cli.Command) []cli.Flag {
	if len(l.path) > 0 {
		if last := l.path[len(l.path)-1]; len(last.Subcommands) == 0 {
			return last.Flags
		}
		commands = l.path[len(l.path)-1].Subcommands
	}
	var all []cli.Flag
	for _, c := range commands {
		all = append(all, c.Flags...)
		for _, sub := range c.Subcommands {
			all = append(all, sub.Flags...)
		}
	}
	return all
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func findFlag(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	documented, ok := f.(cli.DocGenerationFlag)
	return ok && documented.TakesValue()
}

// count is the value of a flag such as -tail: given without a number it means a default.
type count struct {
	given     bool
	otherwise int
	n         int
}

// Set reads a number, or "true", which the flag library says for a flag without a value.
func (c *count) Set(text string) error {
	c.given, c.n = true, c.otherwise
	if text == "true" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return fmt.Errorf("want a number of lines")
	}
	c.n = n
	return nil
}

// String is the number, "" while the flag was not given.
func (c *count) String() string {
	if c == nil || !c.given {
		return ""
	}
	return strconv.Itoa(c.n)
}

// IsBoolFlag tells the flag library that the value may be left out.
func (c *count) IsBoolFlag() bool { return true }

func optionalNumber(f cli.Flag) bool {
	generic, ok := f.(*cli.GenericFlag)
	if !ok {
		return false
	}
	_, ok = generic.Value.(*count)
	return ok
}

// isCount tells a number of lines from an ID that happens to be made of digits: IDs are shown with eight characters.
func isCount(word string) bool {
	if len(word) >= 8 {
		return false
	}
	_, err := strconv.ParseUint(word, 10, 32)
	return err == nil
}

func unknownCommand(parent string, commands []*cli.Command, word string) error {
	var names []string
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Names()...)
		}
	}
	if meant := closest(word, names); meant != "" {
		return fmt.Errorf("find command %q: did you mean `%s %s`? `%s -h` lists what there is", clip(word), parent, meant, parent)
	}
	return fmt.Errorf("find command %q: there is none: `%s -h` lists what there is", clip(word), parent)
}

func unknownFlag(command string, flags []cli.Flag, name string) error {
	var names []string
	for _, f := range flags {
		names = append(names, f.Names()...)
	}
	if meant := closest(name, names); meant != "" {
		return fmt.Errorf("find flag -%s of `%s`: did you mean -%s? `%s -h` lists what there is", clip(name), command, meant, command)
	}
	return fmt.Errorf("find flag -%s of `%s`: there is none: `%s -h` lists what there is", clip(name), command, command)
}

// clip bounds what a message repeats of the user's input.
func clip(text string) string {
	if runes := []rune(text); len(runes) > 40 {
		return string(runes[:40]) + "…"
	}
	return text
}

// closest is the candidate that word was probably meant to be, "" if none is near. Ties go to one as long as the word, since letters
// change places more often than they come and go, and then to the first in order.
func closest(word string, candidates []string) string {
	if len(word) > 40 {
		return ""
	}
	best, limit := "", 2*min(3, 1+len(word)/3)+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		d := 2 * levenshtein.Distance(word, c, nil)
		if len(c) != len(word) {
			d++
		}
		if d <= limit {
			best, limit = c, d-1
		}
	}
	return best
}
