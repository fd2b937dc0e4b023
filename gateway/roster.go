package gateway

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"sluice/gateway/auth"
)

// rosterShards keeps the loops out of each other's way, and a search for a token from holding all
// of them up.
const rosterShards = 64

// roster knows the sessions of every user. It is safe for concurrent use.
type roster struct {
	seed   maphash.Seed
	shards [rosterShards]rosterShard
}

type rosterShard struct {
	mu    sync.Mutex
	users map[subject][]member
}

// subject is a user: what two issuers call the same are two.
type subject struct{ issuer, user string }

func subjectOf(id *auth.Identity) subject { return subject{id.Issuer, id.User} }

// member is a session and the token that let it in.
type member struct {
	session *session
	tokenID string
	issuer  string
	made    time.Time // the earliest moment that it can be; zero means unknown
}

func memberOf(s *session, id *auth.Identity) member {
	return member{s, id.TokenID, id.Issuer, id.Made()}
}

func newRoster() *roster {
	r := &roster{seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].users = map[subject][]member{}
	}
	return r
}

func (r *roster) shard(user string) *rosterShard {
	return &r.shards[maphash.String(r.seed, user)%rosterShards]
}

// add enters a session, unless its user has max already; 0 means unlimited.
func (r *roster) add(s *session, id *auth.Identity, max int) bool {
	shard := r.shard(id.User)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	list := shard.users[subjectOf(id)]
	if max > 0 && len(list) >= max {
		return false
	}
	shard.users[subjectOf(id)] = append(list, memberOf(s, id))
	return true
}

// renew notes that a session has another token of the same user now.
func (r *roster) renew(s *session, id *auth.Identity) {
	shard := r.shard(id.User)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	list := shard.users[subjectOf(id)]
	if i := indexMember(list, s); i >= 0 {
		list[i] = memberOf(s, id)
	}
}

// remove takes a session off.
func (r *roster) remove(s *session, id *auth.Identity) {
	shard := r.shard(id.User)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	user := subjectOf(id)
	list := shard.users[user]
	i := indexMember(list, s)
	switch {
	case i < 0:
	case len(list) == 1:
		delete(shard.users, user)
	default:
		shard.users[user] = slices.Delete(list, i, i+1)
	}
}

func indexMember(list []member, s *session) int {
	return slices.IndexFunc(list, func(m member) bool { return m.session == s })
}

// ofUser lists the sessions of a user of an issuer, or of all with that name for auth.AnyIssuer.
func (r *roster) ofUser(issuer, user string) (found []member) {
	shard := r.shard(user)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if issuer != auth.AnyIssuer {
		return slices.Clone(shard.users[subject{issuer, user}])
	}
	for of, list := range shard.users {
		if of.user == user {
			found = append(found, list...)
		}
	}
	return found
}

// ofToken lists the sessions that a token of an issuer, or of auth.AnyIssuer, let in. It looks at
// every session: revoking is rare, and an index would cost every connection.
func (r *roster) ofToken(issuer, id string) (found []member) {
	for i := range r.shards {
		shard := &r.shards[i]
		shard.mu.Lock()
		for _, list := range shard.users {
			for _, m := range list {
				if m.tokenID == id && (issuer == auth.AnyIssuer || m.issuer == issuer) {
					found = append(found, m)
				}
			}
		}
		shard.mu.Unlock()
	}
	return found
}

// len is how many users have a session.
func (r *roster) len() (users int) {
	for i := range r.shards {
		shard := &r.shards[i]
		shard.mu.Lock()
		users += len(shard.users)
		shard.mu.Unlock()
	}
	return users
}
