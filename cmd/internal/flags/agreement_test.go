package flags

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
)

// typist is a terminal with somebody at it.
type typist struct {
	io.Reader
	asked strings.Builder
}

func (t *typist) Write(p []byte) (int, error) { return t.asked.Write(p) }
func (t *typist) Close() error                { return nil }

func TestAgreement(t *testing.T) {
	silent, speak := io.Pipe()
	defer func() { _ = speak.Close() }()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx   context.Context
		yes   bool
		at    io.Reader // nil: no terminal
		want  error
		wrong bool
	}{
		"yes given":    {t.Context(), true, nil, nil, false},
		"no terminal":  {t.Context(), false, nil, nil, true},
		"yes said":     {t.Context(), false, strings.NewReader("yes\n"), nil, false},
		"no said":      {t.Context(), false, strings.NewReader("no\n"), errDeclined, false},
		"nothing said": {t.Context(), false, strings.NewReader(""), errDeclined, false},
		"interrupted":  {ended, false, silent, errDeclined, false},
	} {
		t.Run(name, func(t *testing.T) {
			at := &typist{Reader: c.at}
			env := cli.Env{OpenTerminal: func() (io.ReadWriteCloser, error) {
				if c.at == nil {
					return nil, os.ErrNotExist
				}
				return at, nil
			}}
			var a Agreement
			var move cobra.Command
			a.Register(&move)
			if err := move.ParseFlags([]string{fmt.Sprintf("--yes=%t", c.yes)}); err != nil {
				t.Fatal(err)
			}
			err := a.Ask(c.ctx, env, "Move 3 messages?")
			_, wrong := errors.AsType[*cli.UsageError](err)
			if wrong != c.wrong || !wrong && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if before := a.Possible(env); (before != nil) != c.wrong {
				t.Errorf("before any work: %v", before)
			}
			if c.at != nil && at.asked.String() != "Move 3 messages? [yes/no] " {
				t.Errorf("asked %q", at.asked.String())
			}
		})
	}
}
