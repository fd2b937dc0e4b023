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
		{name: "user_undated", revoke: revokeUser("alice", hour), want: true},
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
				if r.dated {
					r.id.Issued = now.Add(r.issued)
				}
				<-time.After(r.after)
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
	return func(r *Revocations, now time.Time) error { return r.RevokeToken(id, now.Add(d)) }
}

func revokeUser(user string, d time.Duration) func(*Revocations, time.Time) error {
	return func(r *Revocations, now time.Time) error { return r.RevokeUser(user, now.Add(d)) }
}

func TestA09_RevokedInFrontOfCache(t *testing.T) {
	v := &counter{next: VerifierFunc(func(_ context.Context, c Credential) (Identity, error) {
		return Identity{User: "alice", TokenID: string(c.Token)}, nil
	})}
	r := NewRevocations(10)
	guarded := r.Guard(NewCache(v, DefaultCache()))
	until := time.Now().Add(time.Hour)
	for _, token := range []string{"a", "b"} {
		if _, err := verify(guarded, token); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.RevokeToken("a", until); err != nil {
		t.Fatal(err)
	}
	_, err := verify(guarded, "a")
	wantReason(t, err, ReasonRevoked)
	if _, err := verify(guarded, "b"); err != nil {
		t.Error(err)
	}
	if err := r.RevokeUser("alice", until); err != nil {
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
		now := time.Now()
		for i := range entriesMax {
			revoke := r.RevokeToken
			if i%2 == 0 {
				revoke = r.RevokeUser
			}
			if err := revoke(fmt.Sprint(i), now.Add(time.Minute*time.Duration(i+1))); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := r.RevokeToken("x", now.Add(time.Hour)); !errors.Is(err, ErrRevocationsFull) {
				t.Errorf("full: %v", err)
			}
			if err := r.RevokeUser("x", now.Add(time.Hour)); !errors.Is(err, ErrRevocationsFull) {
				t.Errorf("full: %v", err)
			}
		}
		// What is in may be renewed, and never gets shorter.
		if err := r.RevokeToken("1", now); err != nil {
			t.Error(err)
		}
		if err := r.RevokeUser("0", now); err != nil {
			t.Error(err)
		}
		wantReason(t, r.Check(&Identity{User: "a", TokenID: "1"}), ReasonRevoked)
		wantReason(t, r.Check(&Identity{User: "0"}), ReasonRevoked)
		// What is over makes room.
		<-time.After(2 * time.Minute)
		for i, revoke := range []func(string, time.Time) error{r.RevokeToken, r.RevokeUser} {
			if err := revoke("x", now.Add(time.Hour)); err != nil {
				t.Error(i, err)
			}
		}
		if r.Len() != entriesMax {
			t.Errorf("%d entries", r.Len())
		}
	})
}
