package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// DefaultLeeway is how wrong the clocks of issuers may be.
const DefaultLeeway = 30 * time.Second

// JWTConfig says which JSON Web Tokens are valid.
type JWTConfig struct {
	// Keys are the keys of the issuer.
	Keys Keys
	// Issuer is what the claim iss must be. Empty accepts any: for a secret that only one party
	// signs with.
	Issuer string
	// Audience are the names of this service: the claim aud must have one of them. Empty accepts
	// only tokens that are meant for nobody in particular, RFC 7519 section 4.1.3.
	Audience []string
	// Leeway is how far exp may have passed, and nbf and iat may lie ahead; zero is none.
	Leeway time.Duration
	// LifetimeMax bounds the time from iat, which must be there then, to exp; 0 means unlimited.
	LifetimeMax time.Duration
	// Fields says which claims make the identity.
	Fields Fields
}

// JWT verifies JSON Web Tokens (RFC 7519) signed as JWS (RFC 7515): it follows RFC 8725. The header
// chooses a key by its id; the key has one algorithm, which the header must name. A token must
// expire. Key material and addresses in the header (jwk, jku, x5c, x5u) are ignored.
type JWT struct {
	cfg        JWTConfig
	algorithms []string
	parser     *jwt.Parser
}

// NewJWT returns a verifier for one issuer.
func NewJWT(cfg JWTConfig) (*JWT, error) {
	switch {
	case cfg.Keys == nil:
		return nil, errors.New("auth: a token verifier needs keys")
	case cfg.Fields.User == "":
		return nil, errors.New("auth: no claim is the user")
	case cfg.Leeway < 0:
		return nil, errors.New("auth: the leeway is negative")
	}
	v := &JWT{cfg: cfg, algorithms: cfg.Keys.algorithms()}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(v.algorithms),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(cfg.Leeway),
		jwt.WithStrictDecoding(),
	}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	if len(cfg.Audience) > 0 {
		options = append(options, jwt.WithAudience(cfg.Audience...))
	}
	v.parser = jwt.NewParser(options...)
	return v, nil
}

// version implements versioned.
func (v *JWT) version() uint64 { return v.cfg.Keys.version() }

// Verify implements Verifier. It asks nobody and does not block.
func (v *JWT) Verify(_ context.Context, c Credential) (Identity, error) {
	token := string(c.Token)
	if err := checkToken(token); err != nil {
		return Identity{}, err
	}
	if err := v.checkForm(token); err != nil {
		return Identity{}, err
	}
	claims := jwt.MapClaims{}
	parsed, err := v.parser.ParseWithClaims(token, claims, v.cfg.Keys.find)
	if err != nil {
		return Identity{}, refusal(err)
	}
	if _, ok := claims["aud"]; ok && len(v.cfg.Audience) == 0 {
		return Identity{}, Refuse(ReasonAudience)
	}
	id, err := v.cfg.Fields.identity(claims)
	if err != nil {
		return Identity{}, err
	}
	if err := checkLifetime(&id, v.cfg.LifetimeMax); err != nil {
		return Identity{}, err
	}
	id.Leeway = v.cfg.Leeway
	id.KeyID, _ = parsed.Header["kid"].(string)
	return id, nil
}

// checkLifetime checks for how long a token is valid; most is 0 if there is no bound. One that does
// not say is refused: a revocation could be forgotten before it ends.
func checkLifetime(id *Identity, most time.Duration) error {
	switch {
	case most == 0:
		return nil
	case id.Issued.IsZero() || id.Expires.IsZero():
		return Refuse(ReasonClaims)
	case id.Expires.Sub(id.Issued) > most:
		return Refuse(ReasonLifetime)
	}
	return nil
}

// checkForm checks what the parser would not mind: a header and claims that are ambiguous, and a
// header that asks for what is not understood.
func (v *JWT) checkForm(token string) error {
	head, rest, _ := strings.Cut(token, ".")
	payload, signature, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(signature, ".") {
		return Refuse(ReasonMalformed)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(payload)
	if err != nil || !unambiguous(b) {
		return Refuse(ReasonMalformed)
	}
	b, err = base64.RawURLEncoding.Strict().DecodeString(head)
	if err != nil {
		return Refuse(ReasonMalformed)
	}
	header, ok := decodeObject(b)
	if !ok {
		return Refuse(ReasonMalformed)
	}
	return v.checkHeader(header)
}

func (v *JWT) checkHeader(header map[string]any) error {
	// RFC 7515 section 4.1.11: what is critical and not understood makes the token invalid. We
	// understand none. RFC 7797 has b64 always critical, so alone it is broken.
	for _, name := range []string{"crit", "b64"} {
		if _, ok := header[name]; ok {
			return Refuse(ReasonMalformed)
		}
	}
	if id, ok := header["kid"]; ok {
		text, isText := id.(string)
		if !isText || len(text) > keyIDBytesMax {
			return Refuse(ReasonKey)
		}
	}
	if algorithm, _ := header["alg"].(string); !slices.Contains(v.algorithms, algorithm) {
		return Refuse(ReasonAlgorithm)
	}
	return nil
}

// parserReasons is what the errors of the parser mean, the first that matches.
var parserReasons = []struct {
	err    error
	reason Reason
}{
	{jwt.ErrTokenMalformed, ReasonMalformed},
	{jwt.ErrTokenSignatureInvalid, ReasonSignature},
	{jwt.ErrTokenExpired, ReasonExpired},
	{jwt.ErrTokenNotValidYet, ReasonNotYet},
	{jwt.ErrTokenUsedBeforeIssued, ReasonNotYet},
	{jwt.ErrTokenInvalidIssuer, ReasonIssuer},
	{jwt.ErrTokenInvalidAudience, ReasonAudience},
}

// refusal is what an error of the parser means. Its text stays behind: it quotes the token.
func refusal(err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	for _, p := range parserReasons {
		if errors.Is(err, p.err) {
			return Refuse(p.reason)
		}
	}
	return Refuse(ReasonClaims)
}
