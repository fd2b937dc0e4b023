package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice/cmd/sluice/internal/settings"
	"sluice/gateway"
	"sluice/gateway/auth"
)

// tokenTimeout bounds the check of a token, the fetching of keys included.
const tokenTimeout = 10 * time.Second

func (a *app) tokenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "Make tokens for tests, or explain one: token gen, token check.",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usage("say `sluice token gen` or `sluice token check TOKEN`")
		},
	}
	c.AddCommand(a.tokenGenCommand(), a.tokenCheckCommand())
	return c
}

// generated is what a token is to say.
type generated struct {
	key, algorithm, kid       string
	sub, issuer, audience, id string
	rooms                     []string
	lifetime                  time.Duration
}

func (a *app) tokenGenCommand() *cobra.Command {
	var g generated
	c := &cobra.Command{
		Use:   "gen",
		Short: "Make a JSON Web Token, for tests.",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := g.sign(time.Now())
			if err != nil {
				return usage("%w", err)
			}
			return a.print(token + "\n")
		},
	}
	f := c.Flags()
	f.StringVar(&g.key, "key", "", "file of the secret, or of the private key in PEM")
	f.StringVar(&g.algorithm, "alg", "", "algorithm; that of the key if empty, HS256 for a secret")
	f.StringVar(&g.kid, "kid", "", "key id in the header")
	f.StringVar(&g.sub, "sub", "", "the user")
	f.StringVar(&g.issuer, "issuer", "", "claim iss")
	f.StringVar(&g.audience, "audience", "", "claim aud")
	f.StringVar(&g.id, "id", "", "claim jti, to revoke it by")
	f.StringSliceVar(&g.rooms, "rooms", nil, "claim rooms, separated by commas")
	f.DurationVar(&g.lifetime, "for", time.Hour,
		"how long it is valid; negative for an expired one")
	return c
}

// sign makes the token.
func (g *generated) sign(now time.Time) (string, error) {
	if g.key == "" || g.sub == "" {
		return "", errors.New("--key FILE and --sub USER are needed")
	}
	claims := map[string]any{
		"sub": g.sub, "iat": now.Unix(), "exp": now.Add(g.lifetime).Unix(),
	}
	for name, value := range map[string]string{
		"iss": g.issuer, "aud": g.audience, "jti": g.id,
	} {
		if value != "" {
			claims[name] = value
		}
	}
	if g.rooms != nil {
		claims["rooms"] = g.rooms
	}
	return auth.Sign(auth.Secret("@"+strings.TrimPrefix(g.key, "@")), g.algorithm, g.kid, claims)
}

func (a *app) tokenCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check TOKEN|@FILE|-",
		Short: "Explain a token, and say what the gateway would. Exits with 0 or 1.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			token, err := readToken(args[0], cmd.InOrStdin())
			if err != nil {
				return usage("%w", err)
			}
			return a.checkToken(a.sources(cmd.Flags()), token)
		},
	}
}

// readToken takes a token from the command line, a file or the standard input: the command line is
// seen by everybody on the host.
func readToken(arg string, stdin io.Reader) (string, error) {
	var text []byte
	var err error
	path, file := strings.CutPrefix(arg, "@")
	switch {
	case arg == "-":
		text, err = io.ReadAll(io.LimitReader(stdin, 2*auth.TokenBytesMax))
	case file:
		text, err = os.ReadFile(path)
	default:
		text = []byte(arg)
	}
	return strings.TrimSpace(string(text)), err
}

// checkToken explains a token and has it verified.
func (a *app) checkToken(src settings.Sources, token string) error {
	values, err := load(src)
	if err != nil {
		return err
	}
	var out strings.Builder
	explainToken(&out, token, time.Now())
	ctx, cancel := context.WithTimeout(context.Background(), tokenTimeout)
	defer cancel()
	id, err := gateway.CheckToken(ctx, values.Config, token)
	switch {
	case errors.Is(err, gateway.ErrNoAuthentication):
		hang(&out, "verdict", 9, "none: the settings have no authentication (--auth-jwt and "+
			"others)")
	case err != nil:
		hang(&out, "verdict", 9, "REFUSED: "+explain(err))
	default:
		fmt.Fprintf(&out, "verdict   accepted as %q\n", id.User)
		fmt.Fprintf(&out, "issuer    %s\n", id.Issuer)
		if id.Rooms != nil {
			fmt.Fprintf(&out, "rooms     %s\n", strings.Join(id.Rooms, ", "))
		}
	}
	if printErr := a.print(out.String()); printErr != nil {
		return printErr
	}
	if err != nil {
		return &failure{code: exitRun}
	}
	return nil
}

// explain says why a token was refused, and how that is called in the metrics.
func explain(err error) string {
	var e *auth.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	text := fmt.Sprintf("%s (%s)", e.Reason.Explain(), e.Reason)
	if cause := e.Unwrap(); cause != nil {
		text += ": " + cause.Error()
	}
	return text
}

// explainToken writes what a JSON Web Token says, which proves nothing yet.
func explainToken(out *strings.Builder, token string, now time.Time) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		fmt.Fprintf(out, "token     not a JSON Web Token, %d characters\n", len(token))
		return
	}
	var claims map[string]any
	for i, name := range []string{"header", "claims"} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		claims = nil
		if err == nil {
			err = json.Unmarshal(raw, &claims)
		}
		if err != nil {
			fmt.Fprintf(out, "%-9s not readable\n", name)
			continue
		}
		text, err := json.Marshal(claims)
		if err != nil {
			continue // what was JSON is JSON
		}
		hang(out, name, 9, strings.ReplaceAll(string(text), `,"`, `, "`))
	}
	for _, c := range []struct{ claim, words string }{
		{"iat", "issued"}, {"nbf", "begins"}, {"exp", "expires"},
	} {
		seconds, ok := claims[c.claim].(float64)
		if !ok || seconds < 0 || seconds > 1<<38 {
			continue
		}
		at := time.Unix(int64(seconds), 0).UTC()
		ago := at.Sub(now).Round(time.Second)
		when := fmt.Sprintf("in %v", ago)
		if ago < 0 {
			when = fmt.Sprintf("%v ago", -ago)
		}
		fmt.Fprintf(out, "%-9s %s, %s\n", c.words, at.Format(time.RFC3339), when)
	}
}
