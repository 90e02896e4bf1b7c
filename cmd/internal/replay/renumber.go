package replay

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"refundd/cmd/internal/cli"
)

// maxNumber is the contract's limit for numbers.
const maxNumber = 64

// Renumbering gives commands new numbers: always the same new one for the same
// old one, so that repeats stay repeats and conflicts stay conflicts.
type Renumbering struct {
	Prefix string
	Trades bool // also the numbers of trades, red packets and their orders
}

// Check refuses what cannot be part of a number.
func (r Renumbering) Check() error {
	switch {
	case r.Prefix == "" && r.Trades:
		return cli.WrongUsage("--renumber-trades needs --renumber")
	case len(r.Prefix) > 24:
		return cli.WrongUsage("--renumber: %d characters, at most 24", len(r.Prefix))
	case strings.ContainsFunc(r.Prefix, func(c rune) bool { return c < 0x21 || c > 0x7e }):
		return cli.WrongUsage("--renumber: only characters from ! to ~ without space")
	}
	return nil
}

// number is the new number of an old one: the prefix and the old one, or a digest
// of it where that would be too long.
func (r Renumbering) number(old string) string {
	if len(r.Prefix)+len(old) <= maxNumber {
		return r.Prefix + old
	}
	sum := sha256.Sum256([]byte(old))
	return r.Prefix + hex.EncodeToString(sum[:16])
}

func (r Renumbering) renames(member string) bool {
	switch member {
	case "out_request_no":
		return true
	case "out_trade_no", "trade_no", "auth_no", "out_order_no":
		return r.Trades
	}
	return false
}

var errNoObject = errors.New("not a JSON object")

// body returns a good command with new numbers. Every other byte stays.
func (r Renumbering) body(old []byte) ([]byte, error) {
	in := json.NewDecoder(bytes.NewReader(old))
	if open, err := in.Token(); err != nil || open != json.Delim('{') {
		return nil, errNoObject
	}
	out := make([]byte, 0, len(old)+5*(len(r.Prefix)+8))
	copied := 0
	for in.More() {
		name, err := in.Token()
		if err != nil {
			return nil, errNoObject
		}
		var value json.RawMessage
		if err := in.Decode(&value); err != nil {
			return nil, errNoObject
		}
		member, _ := name.(string)
		if !r.renames(member) {
			continue
		}
		var number string
		if err := json.Unmarshal(value, &number); err != nil {
			return nil, fmt.Errorf("%s is not a string", member)
		}
		fresh, err := json.Marshal(r.number(number))
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", member, err)
		}
		end := int(in.InputOffset())
		out = append(append(out, old[copied:end-len(value)]...), fresh...)
		copied = end
	}
	if _, err := in.Token(); err != nil && !errors.Is(err, io.EOF) {
		return nil, errNoObject
	}
	return append(out, old[copied:]...), nil
}
