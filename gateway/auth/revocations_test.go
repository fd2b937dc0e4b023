package auth

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestA09_Revocations(t *testing.T) {
	const hour = time.Hour
	rows := []struct {
		name   string
		revoke func(r *Revocations, now time.Time) error
		id     Identity
		issued time.Duration // from the revocation; only if the identity says when
		dated  bool
		asked  bool          // a service was, when the identity is checked
		after  time.Duration // from the revocation
		want   bool          // revoked
	}{
		{name: "token", revoke: revokeToken("t", hour), id: Identity{TokenID: "t"}, want: true},
		{name: "token_other", revoke: revokeToken("t", hour), id: Identity{TokenID: "u"}},
		{name: "token_without_id", revoke: revokeToken("", hour), id: Identity{}},
		{name: "token_until_end", revoke: revokeToken("t", hour), id: Identity{TokenID: "t"},
			after: hour - 1, want: true},
		{name: "token_after_end", revoke: revokeToken("t", hour), id: Identity{TokenID: "t"},
			after: hour},
		{name: "user_before", revoke: revokeUser("alice", hour), dated: true, issued: -hour,
			want: true},
		{name: "user_at", revoke: revokeUser("alice", hour), dated: true, want: true},
		{name: "user_after", revoke: revokeUser("alice", hour), dated: true, issued: time.Second},
		{name: "B13_user_ahead", revoke: revokeUser("alice", hour),
			id: Identity{Leeway: time.Minute}, dated: true, issued: time.Minute, want: true},
		{name: "B13_user_after_leeway", revoke: revokeUser("alice", hour),
			id: Identity{Leeway: time.Minute}, dated: true, issued: time.Minute + 1},
		{name: "B13_user_asked_with_leeway", revoke: revokeUser("alice", hour),
			id: Identity{Leeway: time.Minute}, asked: true, after: 1},
		{name: "user_undated", revoke: revokeUser("alice", hour), want: true},
		{name: "B13_user_asked_before", revoke: revokeUser("alice", hour), asked: true, want: true},
		{name: "B13_user_asked_after", revoke: revokeUser("alice", hour), asked: true, after: 1},
		{name: "B13_user_dated_and_asked_after", revoke: revokeUser("alice", hour), dated: true,
			asked: true, after: 1, want: true},
		{name: "B13_user_for_ever", revoke: revokeUser("alice", 0), after: 1e5 * hour, want: true},
		{name: "B13_token_for_ever", revoke: revokeToken("t", 0), id: Identity{TokenID: "t"},
			after: 1e5 * hour, want: true},
		{name: "B10_user_of_another", revoke: revokeUser("alice", hour), id: Identity{Issuer: "them"}},
		{name: "B10_token_of_another", revoke: revokeToken("t", hour),
			id: Identity{Issuer: "them", TokenID: "t"}},
		{name: "B10_user_of_any", revoke: func(r *Revocations, now time.Time) error {
			return r.RevokeUser(AnyIssuer, "alice", now, now.Add(hour))
		}, id: Identity{Issuer: "them"}, want: true},
		{name: "B10_token_of_any", revoke: func(r *Revocations, now time.Time) error {
			return r.RevokeToken(AnyIssuer, "t", now.Add(hour))
		}, id: Identity{Issuer: "them", TokenID: "t"}, want: true},
		{name: "B10_issuer_of_that_name", revoke: revokeUser("alice", hour),
			id: Identity{Issuer: AnyIssuer}},
		{name: "user_other", revoke: revokeUser("bob", hour)},
		{name: "user_until_end", revoke: revokeUser("alice", hour), after: hour - 1, want: true},
		{name: "user_after_end", revoke: revokeUser("alice", hour), after: hour},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				revocations := NewRevocations(10)
				now := time.Now()
				if err := r.revoke(revocations, now); err != nil {
					t.Fatal(err)
				}
				r.id.User = "alice"
				if r.id.Issuer == "" {
					r.id.Issuer = "us"
				}
				if r.dated {
					r.id.Issued = now.Add(r.issued)
				}
				<-time.After(r.after)
				if r.asked {
					r.id.Asked = time.Now()
				}
				err := revocations.Check(&r.id)
				if r.want {
					wantReason(t, err, ReasonRevoked)
				} else if err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func revokeToken(id string, d time.Duration) func(*Revocations, time.Time) error {
	return func(r *Revocations, now time.Time) error {
		return r.RevokeToken("us", id, untilOf(now, d))
	}
}

func revokeUser(user string, d time.Duration) func(*Revocations, time.Time) error {
	return func(r *Revocations, now time.Time) error {
		return r.RevokeUser("us", user, now, untilOf(now, d))
	}
}

// untilOf is d from now, never for 0.
func untilOf(now time.Time, d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return now.Add(d)
}

func TestA09_RevokedInFrontOfCache(t *testing.T) {
	v := &counter{next: VerifierFunc(func(_ context.Context, c Credential) (Identity, error) {
		return Identity{Issuer: "us", User: "alice", TokenID: string(c.Token)}, nil
	})}
	r := NewRevocations(10)
	guarded := guardedBy(r, NewCache(v, DefaultCache()))
	until := time.Now().Add(time.Hour)
	for _, token := range []string{"a", "b"} {
		if _, err := verify(guarded, token); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.RevokeToken("us", "a", until); err != nil {
		t.Fatal(err)
	}
	_, err := verify(guarded, "a")
	wantReason(t, err, ReasonRevoked)
	if _, err := verify(guarded, "b"); err != nil {
		t.Error(err)
	}
	if err := r.RevokeUser("us", "alice", time.Now(), until); err != nil {
		t.Fatal(err)
	}
	_, err = verify(guarded, "b")
	wantReason(t, err, ReasonRevoked)
	if n := v.calls.Load(); n != 2 {
		t.Errorf("verified %d times, want 2", n)
	}
}

func TestRevocationsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const entriesMax = 4
		r := NewRevocations(entriesMax)
		revokeToken := func(id string, until time.Time) error {
			return r.RevokeToken("us", id, until)
		}
		revokeUser := func(user string, until time.Time) error {
			return r.RevokeUser("us", user, time.Now(), until)
		}
		now := time.Now()
		for i := range entriesMax {
			revoke := revokeToken
			if i%2 == 0 {
				revoke = revokeUser
			}
			if err := revoke(fmt.Sprint(i), now.Add(time.Minute*time.Duration(i+1))); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := revokeToken("x", now.Add(time.Hour)); !errors.Is(err, ErrRevocationsFull) {
				t.Errorf("full: %v", err)
			}
			if err := revokeUser("x", now.Add(time.Hour)); !errors.Is(err, ErrRevocationsFull) {
				t.Errorf("full: %v", err)
			}
		}
		// What is in may be renewed, and never gets shorter.
		if err := revokeToken("1", now); err != nil {
			t.Error(err)
		}
		if err := revokeUser("0", now); err != nil {
			t.Error(err)
		}
		wantReason(t, r.Check(&Identity{Issuer: "us", User: "a", TokenID: "1"}), ReasonRevoked)
		wantReason(t, r.Check(&Identity{Issuer: "us", User: "0"}), ReasonRevoked)
		// What is over makes room.
		<-time.After(2 * time.Minute)
		for i, revoke := range []func(string, time.Time) error{revokeToken, revokeUser} {
			if err := revoke("x", now.Add(time.Hour)); err != nil {
				t.Error(i, err)
			}
		}
		if r.Len() != entriesMax {
			t.Errorf("%d entries", r.Len())
		}
	})
}
