package desk

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"refundd/cmd/internal/cli"
)

// tell prints one refund of the plan or of the result.
func (a *Action) tell(env cli.Env, p *parkedRefund, result, says string) error {
	if a.Format.JSON() {
		return cli.PrintJSON(env.Stdout, struct {
			Result string `json:"result"`
			Short
			Says string `json:"says,omitempty"`
		}{result, p.short(), says})
	}
	line := fmt.Sprintf("%-8s %-13s %-24s %10s  %s", result, p.kind, p.number, p.yuan(), p.copy.Reason)
	if p.cmd.Merchant != "" {
		line += " of " + p.cmd.Merchant
	}
	if _, err := fmt.Fprintln(env.Stdout, strings.TrimSpace(line+": "+says)); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func (a *Action) close(env cli.Env, c parkedCounts) error {
	if a.Format.JSON() {
		if err := cli.PrintJSON(env.Stdout, c); err != nil {
			return err
		}
	} else {
		var why []string
		all := 0
		for _, stands := range slices.Sorted(maps.Keys(c.Skipped)) {
			why = append(why, fmt.Sprintf("%d %s", c.Skipped[stands], stands))
			all += c.Skipped[stands]
		}
		did := string(a.Deed)
		if a.Plan {
			did = "would be " + did
		}
		_, _ = fmt.Fprintf(env.Stdout, "found %d: %d %s, %d skipped", c.Found, c.Done, did, all)
		if len(why) > 0 {
			_, _ = fmt.Fprintf(env.Stdout, " (%s)", strings.Join(why, ", "))
		}
		_, _ = fmt.Fprintf(env.Stdout, ", %d failed\n", c.Failed)
	}
	if c.Failed > 0 {
		return fmt.Errorf("%d of %d failed", c.Failed, c.Found)
	}
	return nil
}
