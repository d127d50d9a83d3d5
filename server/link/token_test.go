package link

import (
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster/server/pki"
)

func testToken() Token {
	t := Token{Role: pki.RoleServer, Expires: time.Unix(1_800_000_000, 0).UTC(), Addresses: []string{"10.0.0.1:4647", "[fd00::2]:4647"}}
	for i := range t.ID {
		t.ID[i] = byte(i)
	}
	for i := range t.Secret {
		t.Secret[i] = byte(0x80 + i)
	}
	for i := range t.Authority {
		t.Authority[i] = byte(3 * i)
	}
	return t
}

func same(a, b Token) bool {
	return a.ID == b.ID && a.Secret == b.Secret && a.Role == b.Role && a.Authority == b.Authority && a.Expires.Equal(b.Expires) &&
		strings.Join(a.Addresses, " ") == strings.Join(b.Addresses, " ")
}

func TestTokensAreReadBack(t *testing.T) {
	want := testToken()
	text := want.Text()
	for _, form := range []string{text, " " + text + "\n", strings.ToUpper(text), text[:50] + "\n  " + text[50:]} {
		if got, err := ParseToken(form); err != nil || !same(got, want) {
			t.Errorf("%q reads as %+v, %v", form, got, err)
		}
	}
	if want.Role = pki.RoleClient; want.Text() == text {
		t.Error("the role is not in the token")
	}
	if got, err := ParseToken(want.Text()); err != nil || got.Role != pki.RoleClient {
		t.Errorf("a client's token reads as %+v, %v", got, err)
	}
	if strings.Contains(want.String(), text[20:40]) || !strings.Contains(want.String(), "0001020304050607") {
		t.Errorf("a token calls itself %q", want)
	}
}

func TestTokensOfNoUseSayWhatToDo(t *testing.T) {
	text := testToken().Text()
	other := strings.NewReplacer("a", "b", "b", "a")
	for given, want := range map[string]string{
		"":                        "read join token: it is empty: make one with `cluster join-token server` (or client) on a server",
		text[:6]:                  "read join token: it is cut short: copy all of it",
		text[:len(tokenPrefix)]:   "read join token: it is cut short: copy all of it",
		text[:len(tokenPrefix)+1]: "read join token: it is cut short: copy all of it",
		text[:len(text)-1]:        "read join token: it is cut short: copy all of it",
		text[:len(text)/2]:        "read join token: it is cut short: copy all of it",
		text[:60] + other.Replace(text[60:90]) + text[90:]: "read join token: a character in it is wrong or too many: copy it again",
		text + "aaaa":                  "read join token: a character in it is wrong or too many: copy it again",
		text[:30] + "!" + text[31:]:    "read join token: a character in it is wrong: copy it again",
		"s3cr3t":                       "read join token: that is none: one begins with clusterjoin1_ and is made with `cluster join-token server` (or client) on a server",
		"clusterjoin9_abc":             "read join token: another version of the program made it: use the same version as the servers",
		strings.Repeat("a", 5000):      "read join token: it is far too long to be one: copy it again",
		(Token{Role: "x"}).Text():      "read join token: it is damaged: make another",
		(Token{Role: "client"}).Text(): "read join token: it is damaged: make another",
		(Token{Role: "client", Addresses: []string{"nowhere"}}).Text(): "read join token: it is damaged: make another",
	} {
		if _, err := ParseToken(given); err == nil || err.Error() != want {
			t.Errorf("%.30q: %v\nwant %s", given, err, want)
		}
	}
	for n := range text {
		if _, err := ParseToken(text[:n]); err == nil || !strings.Contains(err.Error(), "cut short") && n > 0 {
			t.Errorf("cut to %d characters: %v", n, err)
		}
	}
}

func FuzzToken(f *testing.F) {
	text := testToken().Text()
	f.Add(text)
	f.Add(text[:len(text)-3])
	f.Add((Token{Role: "client", Addresses: []string{"nowhere"}}).Text())
	f.Add("clusterjoin1_aaaaaaaa")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err != nil {
			return
		}
		again, err := ParseToken(token.Text())
		if err != nil || !same(again, token) {
			t.Errorf("%q reads as %+v, then as %+v, %v", text, token, again, err)
		}
	})
}

func TestClocksThatAreOffAreSaid(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for off, want := range map[time.Duration]string{
		0:                            "",
		59 * time.Second:             "",
		-59 * time.Second:            "",
		2 * time.Minute:              "this machine's clock is 2m0s behind the servers'",
		-26 * time.Hour:              "this machine's clock is 1 days and 2 hours ahead of the servers'",
		(2*365 + 3) * 24 * time.Hour: "this machine's clock is 2 years and 3 days behind the servers'",
	} {
		got := ClockWords(now.Add(off), now.Add(-time.Second), now.Add(time.Second))
		if got, _, _ := strings.Cut(got, ":"); got != want {
			t.Errorf("off by %s: %q, want %q", off, got, want)
		}
	}
}
