package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/a43e60e4/cluster/e2e/fleet"
	"github.com/a43e60e4/cluster/e2e/lan"
)

// machineVerbs are the commands of scripts of several machines, but for those that know what ! before them means.
var machineVerbs = map[string]struct {
	least int // arguments
	do    func(*site, []string) error
}{
	"machines": {1, (*site).machines}, "start": {2, (*site).start}, "join": {3, (*site).join}, "again": {1, (*site).again},
	"ready": {1, (*site).ready}, "off": {1, (*site).off}, "crash": {2, (*site).crash}, "end": {1, (*site).end},
	"suspend": {1, (*site).suspend}, "resume": {1, (*site).resume}, "readdress": {1, (*site).readdress}, "inherit": {2, (*site).inherit},
	"cut": {1, (*site).cut}, "loss": {1, (*site).loss}, "delay": {1, (*site).delay}, "block": {2, (*site).block},
	"heal": {0, (*site).heal}, "pause": {1, (*site).pause},
	"eventually": {4, (*site).eventually}, "holds": {5, (*site).holds}, "runs": {2, (*site).runs}, "where": {2, (*site).where},
	"leader": {1, (*site).leader}, "other": {1, (*site).other}, "leads": {0, (*site).leads},
	"tasks": {3, (*site).tasks}, "slay": {2, (*site).slay}, "behind": {4, (*site).follow}, "finish": {1, (*site).finish},
	"hangup": {1, (*site).hangup}, "engine": {1, (*site).engine}, "image": {1, (*site).image}, "token": {3, (*site).token},
	"upstream": {3, (*site).upstream}, "disk": {2, (*site).disk}, "fill": {1, (*site).fill}, "free": {1, (*site).free},
	"flood": {3, (*site).flood},
}

func machineCommands() map[string]func(*testscript.TestScript, bool, []string) {
	all := map[string]func(*testscript.TestScript, bool, []string){
		"set": cmdSet, "lines": cmdLines, "sequence": cmdSequence, "build": cmdBuild,
		"on": func(ts *testscript.TestScript, neg bool, args []string) {
			probed(ts, neg, append([]string{"on"}, args...))
		},
		"dig": func(ts *testscript.TestScript, neg bool, args []string) {
			probed(ts, neg, append([]string{"dig"}, args...))
		},
	}
	for name, verb := range machineVerbs {
		all[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			usage(ts, !neg && len(args) >= verb.least, name+" as the comment of TestMachines has it")
			ts.Check(verb.do(siteOf(ts), args))
		}
	}
	return all
}

// probed is a probe as a command by itself.
func probed(ts *testscript.TestScript, neg bool, args []string) {
	s := siteOf(ts)
	stdout, stderr, err := s.probe(context.Background(), args)
	s.show(stdout, stderr)
	exit, said := errors.AsType[*exec.ExitError](err)
	switch {
	case err != nil && !said, said && !exit.Exited(), said && !neg:
		ts.Fatalf("%s: %v", strings.Join(args, " "), err)
	case err == nil && neg:
		ts.Fatalf("%s succeeded", strings.Join(args, " "))
	}
}

func copyFile(from, to string) ([]byte, error) {
	// cp, as a file that this process has open for writing could not be executed while it starts something else
	return exec.Command("cp", from, to).CombinedOutput()
}

func (s *site) machines(names []string) error {
	c := fleet.Config{Dir: s.dir, Program: s.program, Env: []string{markerEnv + "=" + s.dir}}
	if names[0] == "-6" {
		c.LAN.Networks, names = append(c.LAN.Networks, lan.IPv6), names[1:]
	}
	s.Fleet = fleet.New(s.t, c)
	for _, name := range names {
		if _, err := s.Node(name); err != nil {
			return err
		}
		if own := filepath.Join(s.dir, name+".hcl"); exists(own) {
			if _, err := copyFile(own, filepath.Join(s.dir, name, "agent.hcl")); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *site) start(args []string) error {
	flags := args[2:]
	if i := slices.Index(flags, "-alone"); i >= 0 {
		flags[i] = "-bootstrap"
	} else if !s.begun {
		flags = append(flags, "-bootstrap")
	}
	s.begun = true
	return s.node(args[0]).Start(fleet.Role(args[1]), flags...)
}

func (s *site) join(args []string) error {
	role := fleet.Role(args[1])
	token, err := s.node(args[2]).Token(context.Background(), role)
	if err != nil {
		return err
	}
	return s.node(args[0]).Join(role, token)
}

func (s *site) token(args []string) error {
	token, err := s.node(args[1]).Token(context.Background(), fleet.Role(args[2]))
	s.ts.Setenv(args[0], token)
	return err
}

func (s *site) again(args []string) error {
	var flags []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, flags = args[:i], args[i+1:]
	}
	s.each(args, func(n *fleet.Node) error { return n.Start("", flags...) })
	return nil
}

func (s *site) ready(args []string) error {
	s.each(args, func(n *fleet.Node) error { return n.Ready(context.Background()) })
	return nil
}

func (s *site) off(args []string) error {
	s.each(args, (*fleet.Node).Off)
	return nil
}

func (s *site) crash(args []string) error { return s.node(args[0]).Crash(args[1]) }

func (s *site) end(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.each(args, func(n *fleet.Node) error { return n.End(ctx) })
	return nil
}

func (s *site) hangup(args []string) error { return s.node(args[0]).Signal(syscall.SIGHUP) }

func (s *site) suspend(args []string) error { return s.node(args[0]).Suspend() }

func (s *site) resume(args []string) error {
	s.node(args[0]).Resume()
	return nil
}

func (s *site) readdress(args []string) error {
	for _, name := range args {
		if err := s.node(name).Readdress(); err != nil {
			return err
		}
	}
	return nil
}

func (s *site) inherit(args []string) error {
	return s.node(args[0]).Inherit(s.node(args[1]).Machine)
}

func (s *site) cut(args []string) error {
	if len(args) == 3 && (args[1] == "from" || args[1] == "to") {
		a, b := s.node(args[0]).Machine, s.node(args[2]).Machine
		s.LAN.Set(a, b, lan.Condition{Cut: true})
		if args[1] == "from" {
			s.LAN.Set(b, a, lan.Condition{Cut: true})
		}
		return nil
	}
	for _, name := range args {
		s.node(name).CutOff()
	}
	return nil
}

// chosen are the machines of those names, all if there are none.
func (s *site) chosen(names []string) []*fleet.Node {
	if len(names) == 0 {
		return s.Nodes()
	}
	var all []*fleet.Node
	for _, name := range names {
		all = append(all, s.node(name))
	}
	return all
}

func (s *site) loss(args []string) error {
	part, err := strconv.ParseFloat(args[0], 64)
	for _, n := range s.chosen(args[1:]) {
		n.Lose(part)
	}
	return err
}

func (s *site) delay(args []string) error {
	d, err := time.ParseDuration(args[0])
	for _, n := range s.chosen(args[1:]) {
		n.Delay(d)
	}
	return err
}

func (s *site) block(args []string) error {
	for _, text := range args[1:] {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return err
		}
		s.node(args[0]).Block(uint16(port))
	}
	return nil
}

func (s *site) heal(args []string) error {
	if len(args) == 0 {
		s.LAN.Heal()
	}
	for _, name := range args {
		s.node(name).Heal()
	}
	return nil
}

func (s *site) pause(args []string) error {
	d, err := time.ParseDuration(args[0])
	<-time.After(d)
	return err
}

func (s *site) eventually(args []string) error {
	limit := patience
	if d, err := time.ParseDuration(args[0]); err == nil {
		limit, args = d, args[1:]
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	if err != nil {
		return err
	}
	var stdout, stderr string
	err = fleet.Wait(context.Background(), limit, strings.Join(args, " "), func(ctx context.Context) error {
		stdout, stderr, _ = s.probe(ctx, args[1:]) // what it prints says all
		if !pattern.MatchString(stdout + stderr) {
			return errors.New("no match")
		}
		return nil
	})
	s.show(stdout, stderr)
	return err
}

func (s *site) holds(args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	if err != nil {
		return err
	}
	for end, i := time.Now().Add(d), 1; time.Now().Before(end); i++ {
		stdout, stderr, err := s.probe(context.Background(), args[2:])
		if !pattern.MatchString(stdout + stderr) {
			s.show(stdout, stderr)
			return fmt.Errorf("%v before the end, at the %dth look, it does not hold (%v)", time.Until(end), i, err)
		}
		<-time.After(100 * time.Millisecond)
	}
	return nil
}

func (s *site) runs(args []string) error {
	want, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	not := args[2:]
	return fleet.Wait(context.Background(), patience, strings.Join(args, " "), func(ctx context.Context) error {
		placed, err := s.Placed(ctx, args[0])
		if err != nil {
			return err
		}
		for _, node := range placed {
			if len(not) > 0 && slices.Contains(not[1:], node) {
				return fmt.Errorf("there are %v", placed)
			}
		}
		if len(placed) != want {
			return fmt.Errorf("there are %v", placed)
		}
		return nil
	})
}

func (s *site) where(args []string) error {
	job, index, ok := strings.Cut(args[1], "[")
	placed, err := s.Placed(context.Background(), job)
	if err != nil {
		return err
	}
	node := placed[job+"."+job+"["+index]
	if !ok || node == "" {
		return fmt.Errorf("%s runs nowhere: there are %v", args[1], placed)
	}
	s.ts.Setenv(args[0], node)
	return nil
}

// lead waits until a machine leads that is none of those.
func (s *site) lead(not []string) (leader *fleet.Node, err error) {
	err = fleet.Wait(context.Background(), patience, "a leader", func(ctx context.Context) (err error) {
		leader, err = s.Leader(ctx)
		if err == nil && slices.Contains(not, leader.Name) {
			err = fmt.Errorf("%s leads", leader.Name)
		}
		return err
	})
	return leader, err
}

func (s *site) leader(args []string) error {
	leader, err := s.lead(nil)
	if err == nil {
		s.ts.Setenv(args[0], leader.Name)
	}
	return err
}

func (s *site) leads(args []string) error {
	_, err := s.lead(args)
	return err
}

func (s *site) other(args []string) error {
	for _, n := range s.Nodes() {
		if n.Running() && !slices.Contains(args[1:], n.Name) {
			s.ts.Setenv(args[0], n.Name)
			return nil
		}
	}
	return errors.New("there is no other machine")
}

func (s *site) tasks(args []string) error {
	want, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	n := s.node(args[0])
	return fleet.Wait(context.Background(), patience, strings.Join(args, " "), func(context.Context) error {
		if count := n.Tasks(args[1]); count != want {
			return fmt.Errorf("there are %d", count)
		}
		return nil
	})
}

func (s *site) slay(args []string) error {
	killed := 0
	for _, pid := range s.node(args[0]).TaskIDs(args[1]) {
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	if killed == 0 {
		return fmt.Errorf("no process has %q", args[1])
	}
	return nil
}

func (s *site) follow(args []string) error {
	out, err := os.Create(filepath.Join(s.dir, args[0]+".out"))
	if err != nil {
		return err
	}
	defer out.Close()
	if args[1] != "on" {
		return errors.New("usage: behind NAME on NODE PROGRAM ARG…")
	}
	cmd := s.commandOn(context.Background(), args[2:])
	cmd.Stdout, cmd.Stderr = out, &bytes.Buffer{}
	if err := cmd.Start(); err != nil {
		return err
	}
	b := &background{cmd: cmd, done: make(chan struct{})}
	s.behind[args[0]] = b
	go func() { b.err = cmd.Wait(); close(b.done) }()
	return nil
}

func (s *site) finish(args []string) error {
	b := s.behind[args[0]]
	if b == nil {
		return fmt.Errorf("nothing named %s was started", args[0])
	}
	return b.finish(args[0])
}

func (s *site) engine(args []string) error { return s.node(args[0]).Engine(context.Background()) }

func (s *site) image(args []string) error {
	const name = "cluster.test/machines:1" // with a tag nobody looks for a newer one
	s.ts.Setenv("IMAGE", name)
	return s.node(args[0]).Image(context.Background(), name, programs.hello)
}

// upstream has every agent that starts later ask the machine's resolver.
func (s *site) upstream(args []string) error {
	ctx, stop := context.WithCancel(context.Background())
	s.ts.Defer(stop)
	resolver := s.node(args[0])
	for _, n := range s.Nodes() {
		line := fmt.Sprintf("nameserver %s\n", resolver.Address())
		if err := os.WriteFile(filepath.Join(n.Dir, "resolv.conf"), []byte(line), 0o644); err != nil {
			return err
		}
	}
	return resolver.Upstream(ctx, args[1], s.node(args[2]).Address())
}
