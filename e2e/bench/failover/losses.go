package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/a43e60e4/cluster/e2e/fleet"
	"github.com/a43e60e4/cluster/server/api"
)

const (
	// patience bounds every wait.
	patience = 2 * time.Minute
	// pause is between two looks at something awaited.
	pause = 5 * time.Millisecond
	// service is the name of the job that is moved, and of its service.
	service = "web"
)

const serviceJob = `job "web" {
  group "web" {
    count = %d
    network {
      port "http" {}
    }
    service {
      name     = "web"
      provider = "nomad"
      port     = "http"
      check {
        type     = "http"
        path     = "/health"
        interval = "1s"
        timeout  = "1s"
      }
    }
    update {
      min_healthy_time = "0s"
    }
    task "web" {
      driver = "raw_exec"
      config {
        command = %q
      }
      resources {
        cpu    = 10
        memory = 10
      }
    }
  }
}
`

// serve runs so many instances of the service.
func (b *bench) serve(ctx context.Context, f *fleet.Fleet, first string, count int) error {
	file := filepath.Join(b.dir, "web.hcl")
	if err := os.WriteFile(file, fmt.Appendf(nil, serviceJob, count, b.hello), 0o644); err != nil {
		return err
	}
	if _, err := f.Named(first).CLI(ctx, "job", "run", file); err != nil {
		return err
	}
	return f.AwaitPlaced(ctx, service, count, patience)
}

// until tries every few milliseconds.
func until(ctx context.Context, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up waiting until %s: %w", what, err)
		case <-time.After(pause):
		}
	}
}

// servers are those that run, but for one.
func servers(f *fleet.Fleet, but *fleet.Node) []*fleet.Node {
	return slices.DeleteFunc(f.Nodes(), func(n *fleet.Node) bool { return n == but || n.Role == fleet.Client || !n.Running() })
}

// writes waits until a write is accepted by one of the nodes.
func writes(ctx context.Context, nodes []*fleet.Node) (time.Time, error) {
	ctx, done := context.WithTimeout(ctx, patience)
	defer done()
	accepted := make(chan time.Time, len(nodes))
	var trying sync.WaitGroup
	for i, n := range nodes {
		trying.Go(func() {
			_ = until(ctx, "a write is accepted", func(ctx context.Context) error { // the others may be first
				ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
				defer cancel()
				if err := write(ctx, n.API(), i); err != nil {
					return err
				}
				accepted <- time.Now()
				done()
				return nil
			})
		})
	}
	trying.Wait()
	select {
	case at := <-accepted:
		return at, nil
	default:
		return time.Time{}, errors.New("no write was accepted")
	}
}

func write(ctx context.Context, client *api.Client, i int) error {
	task := map[string]any{"Name": "none", "Driver": "raw_exec", "Config": map[string]any{"command": "true"}}
	group := map[string]any{"Name": "none", "Count": 0, "Tasks": []any{task}}
	job := map[string]any{"ID": fmt.Sprint("write-", i), "Meta": map[string]any{"at": time.Now().String()}, "TaskGroups": []any{group}}
	_, err := client.Put(ctx, "/v1/jobs", api.Query{}, map[string]any{"Job": job}, nil)
	return err
}

// elsewhere waits until one of the nodes says that all instances run, none of them on the victim.
func elsewhere(ctx context.Context, observers []*fleet.Node, victim string, count int) (time.Time, error) {
	err := until(ctx, "the work of "+victim+" runs elsewhere", func(ctx context.Context) error {
		var err error
		for _, n := range observers {
			var placed map[string]string
			if placed, err = fleet.Placed(ctx, n.API(), service, api.Query{Stale: true}); err != nil {
				continue
			}
			if err = moved(placed, victim, count); err == nil {
				return nil
			}
		}
		return err
	})
	return time.Now(), err
}

func moved(placed map[string]string, victim string, count int) error {
	for _, node := range placed {
		if node == victim {
			return fmt.Errorf("there are %v", placed)
		}
	}
	if len(placed) != count {
		return fmt.Errorf("there are %v", placed)
	}
	return nil
}

// nameless waits until no other node answers with an address of the victim.
func nameless(ctx context.Context, f *fleet.Fleet, victim *fleet.Node) (time.Time, error) {
	gone := victim.Addresses()
	var asking sync.WaitGroup
	var mu sync.Mutex
	var last time.Time
	var errs []error
	for _, n := range f.Nodes() {
		if n == victim || !n.Running() {
			continue
		}
		asking.Go(func() {
			err := until(ctx, n.Name+" does not name "+victim.Name, func(ctx context.Context) error {
				found, err := n.Resolve(ctx, service+".cluster.internal")
				for _, address := range found {
					if slices.Contains(gone, address) {
						return errors.New("it does")
					}
				}
				if err == nil && len(found) == 0 {
					err = errors.New("it names nobody")
				}
				return err
			})
			mu.Lock()
			defer mu.Unlock()
			last, errs = time.Now(), append(errs, err)
		})
	}
	asking.Wait()
	return last, errors.Join(errs...)
}

// whole waits until everybody is ready, so many instances run and have their names, and lets that be for a while.
func (b *bench) whole(ctx context.Context, f *fleet.Fleet, count int) error {
	f.LAN.Heal()
	for _, n := range f.Nodes() {
		if !n.Running() {
			if err := n.Start(""); err != nil {
				return err
			}
		}
	}
	for _, n := range f.Nodes() {
		if err := n.Ready(ctx); err != nil {
			return err
		}
	}
	if err := f.AwaitPlaced(ctx, service, count, patience); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(b.settle):
	}
	return f.AwaitPlaced(ctx, service, count, patience)
}

// repeat opens a fleet with a service of so many instances, and measures runs times with everything whole before.
func (b *bench) repeat(ctx context.Context, t topology, count int, run func(*fleet.Fleet, *fleet.Node) error) (err error) {
	f, err := b.open(ctx, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := b.serve(ctx, f, t.first(), count); err != nil {
		return err
	}
	for range b.runs {
		if err := b.whole(ctx, f, count); err != nil {
			return errors.Join(err, b.explain(f))
		}
		var leader *fleet.Node
		err := until(ctx, "there is a leader", func(ctx context.Context) (err error) {
			leader, err = f.Leader(ctx)
			return err
		})
		if err == nil {
			err = run(f, leader)
		}
		if err != nil {
			return errors.Join(err, b.explain(f))
		}
	}
	return nil
}

func (b *bench) leaderKilled(ctx context.Context) error {
	var took []time.Duration
	err := b.repeat(ctx, apart, 3, func(f *fleet.Fleet, leader *fleet.Node) error {
		at := time.Now()
		if err := leader.Crash("both"); err != nil {
			return err
		}
		accepted, err := writes(ctx, servers(f, leader))
		took = append(took, accepted.Sub(at))
		return err
	})
	fmt.Println("  killed to written:", spread(took))
	return err
}

// victim is a node with an instance, not the one that is given, if there is another.
func victim(ctx context.Context, f *fleet.Fleet, not *fleet.Node) (*fleet.Node, error) {
	placed, err := f.Placed(ctx, service)
	if err != nil {
		return nil, err
	}
	for _, name := range placed {
		if n := f.Named(name); n != not {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no node has an instance: %v", placed)
}

// cut cuts a machine off and waits for its work, and for its names to be gone.
func cut(ctx context.Context, f *fleet.Fleet, n *fleet.Node, count int) (work, name time.Duration, err error) {
	at := time.Now()
	n.CutOff()
	var waiting sync.WaitGroup
	var unnamed time.Time
	var nameErr error
	waiting.Go(func() { unnamed, nameErr = nameless(ctx, f, n) })
	running, err := elsewhere(ctx, servers(f, n), n.Name, count)
	waiting.Wait()
	return running.Sub(at), unnamed.Sub(at), errors.Join(err, nameErr)
}

// cuts measures cuts of the machine that is chosen each time.
func (b *bench) cuts(ctx context.Context, t topology, choose func(f *fleet.Fleet, leader *fleet.Node) (*fleet.Node, error)) error {
	var work, names []time.Duration
	err := b.repeat(ctx, t, 3, func(f *fleet.Fleet, leader *fleet.Node) error {
		n, err := choose(f, leader)
		if err != nil {
			return err
		}
		w, u, err := cut(ctx, f, n, 3)
		work, names = append(work, w), append(names, u)
		return err
	})
	fmt.Println("  cut to running elsewhere:", spread(work))
	fmt.Println("  cut to gone from the DNS of all others:", spread(names))
	return err
}

func (b *bench) clientCut(ctx context.Context) error {
	return b.cuts(ctx, apart, func(f *fleet.Fleet, leader *fleet.Node) (*fleet.Node, error) { return victim(ctx, f, leader) })
}

func (b *bench) clientCutAfterLeader(ctx context.Context) error {
	return b.cuts(ctx, apart, func(f *fleet.Fleet, leader *fleet.Node) (*fleet.Node, error) {
		n, err := victim(ctx, f, leader)
		if err != nil {
			return nil, err
		}
		err = leader.Crash("both")
		<-time.After(3 * time.Second)
		return n, err
	})
}

func (b *bench) leaderCut(ctx context.Context) error {
	return b.cuts(ctx, three, func(f *fleet.Fleet, leader *fleet.Node) (*fleet.Node, error) {
		placed, err := f.Placed(ctx, service)
		if err == nil && moved(placed, leader.Name, 3) == nil {
			err = fmt.Errorf("the leader %s has no work to lose: %v", leader.Name, placed)
		}
		return leader, err
	})
}

func (b *bench) start(ctx context.Context) error {
	var took []time.Duration
	for range b.runs {
		f, err := b.machines(apart)
		if err != nil {
			return err
		}
		at := time.Now()
		err = f.Begin(ctx, apart, apart.first())
		for _, n := range f.Nodes() {
			if err == nil {
				err = n.Ready(ctx)
			}
		}
		took = append(took, time.Since(at))
		if err != nil {
			err = errors.Join(err, b.explain(f))
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	fmt.Println("  first process started to all six ready, tokens made on the way:", spread(took))
	return nil
}
