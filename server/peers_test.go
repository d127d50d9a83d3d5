package server

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

// seats reads servers from a text: one letter each, in the order of their IDs. V votes and lives, v votes and is dead, o votes and is
// dead for a day, N follows and has caught up, b follows and is behind, n follows and is dead, A is new, L left and has a seat.
func seats(text string) []peer {
	var peers []peer
	for i, letter := range text {
		p := peer{id: cluster.ID{byte(i + 1)}, seated: letter != 'A', voter: strings.ContainsRune("VvoL", letter),
			living: strings.ContainsRune("VNbAL", letter), left: letter == 'L', caught: strings.ContainsRune("VN", letter)}
		switch letter {
		case 'v', 'n':
			p.dead = time.Minute
		case 'o':
			p.dead = forgetDead
		}
		peers = append(peers, p)
	}
	return peers
}

func TestServersTakeAndLoseTheirSeats(t *testing.T) {
	for _, c := range []struct{ servers, want string }{
		{"V", ""},
		{"VA", "add 2"},
		{"Vb", ""},
		{"VN", "promote 2"},
		{"VV", ""},
		{"VVN", "promote 3"},
		{"VVVN", ""}, // four would be no safer than three
		{"VVVNA", "add 5"},
		{"VVVNN", "promote 4"},
		{"VVVVN", "promote 5"},
		{"VVVVV", ""},
		{"VVVVVNN", ""},
		{"VVVVVVV", "demote 7"},
		{"VVv", ""}, // two of three still decide; two of two would decide no more than that
		{"VVvA", "add 4"},
		{"VVvb", ""},
		{"VVvN", "promote 4"},
		{"VVvV", "remove 3"},
		{"Vvv", ""},
		{"VVo", "remove 3"},
		{"Vo", ""}, // never without a majority that lives
		{"VVVV", "demote 4"},
		{"VVVL", "remove 4"},
		{"VVL", "remove 3"},
		{"VVVn", ""},
		{"VVVVv", ""},
		{"VVVVVv", "remove 6"},
	} {
		change := nextSeating(seats(c.servers), cluster.ID{1})
		got := ""
		if change.verb != seatNone {
			got = fmt.Sprintf("%s %d", change.verb, change.peer.id[0])
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.servers, got, c.want)
		}
	}
}

// TestADeadServerIsCountedByItsLeader shows that a seat is lost after a day of one leader's own count, whatever the wall clock says.
func TestADeadServerIsCountedByItsLeader(t *testing.T) {
	self, gone := cluster.ID{1}, missed{}
	look := func(servers string, now time.Duration) string {
		peers := seats(servers) // which says how long they are dead by some clock: that does not count
		gone.count(peers, now)
		change := nextSeating(peers, self)
		if change.verb == seatNone {
			return ""
		}
		return fmt.Sprintf("%s %d", change.verb, change.peer.id[0])
	}
	const day = forgetDead
	for _, step := range []struct {
		servers string
		now     time.Duration
		want    string
	}{
		{"VVo", 0, ""}, // the clock says that it is a day
		{"VVo", day - time.Second, ""},
		{"VVV", day - time.Second/2, ""}, // it was there for a moment
		{"VVo", day, ""},
		{"VVo", 2*day - time.Second, ""},
		{"VVo", 2 * day, "remove 3"},
		{"VVv", 2 * day, "remove 3"},
	} {
		if got := look(step.servers, step.now); got != step.want {
			t.Errorf("%s after %v: %q, want %q", step.servers, step.now, got, step.want)
		}
	}
	gone = missed{} // of the next leader
	if got := look("VVo", 3*day); got != "" {
		t.Errorf("a new leader: %q", got)
	}
	if look("VV", 3*day); len(gone) > 0 {
		t.Errorf("servers without a seat are remembered: %v", gone)
	}
}

// TestSeatsComeToRest starts from any servers and carries out what is decided until nothing is. It shows that this ends, that
// the living keep a majority that they had, and that the number of voters is one, two or odd if all who live have caught up.
func TestSeatsComeToRest(t *testing.T) {
	for seed := range uint64(2000) {
		dice := rand.New(rand.NewPCG(seed, 0))
		text := "V"
		for range dice.IntN(8) {
			text += string("VvoNnAL"[dice.IntN(7)])
		}
		peers := seats(text)
		decides := majority(peers)
		if !decides {
			continue // then nobody leads
		}
		for step := 0; ; step++ {
			change := nextSeating(peers, cluster.ID{1})
			if change.verb == seatNone {
				break
			}
			if step > 40 {
				t.Fatalf("%s never comes to rest: %+v", text, change)
			}
			peers = changed(peers, change)
			if !majority(peers) {
				t.Fatalf("%s: after %s the living are no majority", text, change.verb)
			}
		}
		voters, dead := 0, 0
		for _, p := range peers {
			if p.voter {
				voters++
				if !p.living {
					dead++
				}
			}
		}
		if voters > mostVoters || voters > 2 && voters%2 == 0 {
			t.Errorf("%s comes to rest with %d voters, %d of them dead", text, voters, dead)
		}
	}
}

func majority(peers []peer) bool {
	voters, living := 0, 0
	for _, p := range peers {
		if p.voter {
			voters++
			if p.living {
				living++
			}
		}
	}
	return 2*living > voters
}

// changed is what becomes of the peers.
func changed(peers []peer, change seating) []peer {
	var after []peer
	for _, p := range peers {
		if p.id == change.peer.id {
			switch change.verb {
			case seatAdd:
				p.seated, p.caught = true, true
			case seatPromote:
				p.voter = true
			case seatDemote:
				p.voter = false
			case seatRemove:
				if p.seated, p.voter = false, false; !p.living || p.left {
					continue
				}
			}
		}
		after = append(after, p)
	}
	return after
}
