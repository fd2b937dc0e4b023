package setup

import (
	"context"
	"time"

	"sluice/gateway/auth"
)

// Service is a remote service that verifies credentials, and what may wait for it.
type Service struct {
	Name string
	// CallsMax bounds the calls at once, QueueMax the credentials that wait for one, WaitMax how
	// long one waits.
	CallsMax, QueueMax int
	WaitMax            time.Duration
}

// computes is the service of a verifier that asks none.
const computes = -1

// service is a Service and the verifier that asks it.
type service struct {
	Service
	source *source
}

// source is the end of a route.
type source struct {
	auth.Verifier                // behind its cache, if it has one
	named         auth.Rechecker // without the cache
	cache         *auth.Cache    // nil without one
	service       int            // its place in Setup.services; computes if it asks none
}

// Services are the services that are asked, by their number.
func (s *Setup) Services() []Service {
	list := make([]Service, len(s.services))
	for i := range list {
		list[i] = s.services[i].Service
	}
	return list
}

// Decision is what Decide says of a credential.
type Decision struct {
	// Asks says that the service has to be asked: nothing is known yet.
	Asks bool
	// Service is the number of the service that answers for the credential; negative if none does.
	Service int
	// ID and Err are those of Verify, unless Asks is set.
	ID  auth.Identity
	Err error
}

// Decide verifies a credential as far as that takes no more than computing and a look into a cache.
// It blocks for no service, but may take a millisecond of CPU. Each credential goes to one
// verifier, by its kind and the issuer that it claims, and is never handed on to another one: so it
// is known at once whether a service has to be asked. There must be something that verifies.
func (s *Setup) Decide(ctx context.Context, c auth.Credential) (d Decision) {
	d.Service = computes
	v, err := s.chain.Route(c)
	if err != nil {
		d.Err = err
		return d
	}
	from := v.(*source)
	d.Service = from.service
	if d.Service == computes {
		d.ID, d.Err = s.revocations.Guarded(from.Verify(ctx, c))
		return d
	}
	if from.cache != nil {
		if id, err, ok := from.cache.Known(c); ok {
			d.ID, d.Err = s.revocations.Guarded(id, err)
			return d
		}
	}
	d.Asks = true
	return d
}

// Ask has a credential verified by the service that Decide named. It blocks for as long as the
// service may take.
func (s *Setup) Ask(ctx context.Context, service int, c auth.Credential) (auth.Identity, error) {
	return s.revocations.Guarded(s.services[service].source.Verify(ctx, c))
}

// Keep returns what must be remembered of a credential to ask its service again with Recheck, as
// little as possible. It is as secret as the credential.
func (s *Setup) Keep(service int, c auth.Credential) auth.Secret {
	return s.services[service].source.named.Keep(c)
}

// Recheck asks a service again, past the cache, about a credential of which Keep returned kept and
// whose identity was. It blocks like Ask.
func (s *Setup) Recheck(ctx context.Context, service int, kept auth.Secret,
	was auth.Identity) (auth.Identity, error) {
	id, err := s.services[service].source.named.Recheck(ctx, kept)
	if id.TokenID == "" {
		id.TokenID = was.TokenID
	}
	return s.revocations.Guarded(id, err)
}
