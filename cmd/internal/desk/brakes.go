package desk

import (
	"cmp"
	"context"
	"fmt"

	"refundd/cmd/internal/cli"
	"refundd/dedupe"
)

// Brake stops new refund calls: of a kind, of a merchant, or all.
type Brake struct {
	AppID          string
	Kind, Merchant string // empty: every
	Reason, By     string
	Format         cli.Format
}

func (b *Brake) what() string {
	return fmt.Sprintf("%s of %s", cmp.Or(b.Kind, "every kind"), cmp.Or(b.Merchant, "every merchant"))
}

// Pause puts it on.
func (b *Brake) Pause(ctx context.Context, store *dedupe.Store, env cli.Env) error {
	if err := store.Pause(ctx, b.AppID, dedupe.Brake{Kind: b.Kind, Merchant: b.Merchant, Reason: b.Reason, By: b.By}); err != nil {
		return err
	}
	return b.told(env, "paused")
}

// Resume takes it off.
func (b *Brake) Resume(ctx context.Context, store *dedupe.Store, env cli.Env) error {
	was, err := store.Resume(ctx, b.AppID, b.Kind, b.Merchant)
	if err != nil {
		return err
	}
	if !was {
		return fmt.Errorf("%s was not paused; refundctl brakes lists what is", b.what())
	}
	return b.told(env, "resumed")
}

// List prints all that are on.
func (b *Brake) List(ctx context.Context, store *dedupe.Store, env cli.Env) error {
	on, err := store.Brakes(ctx, b.AppID)
	if err != nil {
		return err
	}
	if b.Format.JSON() {
		for _, one := range on {
			if err := cli.PrintJSON(env.Stdout, map[string]string{
				"kind": one.Kind, "merchant": one.Merchant, "reason": one.Reason, "by": one.By, "since": cli.Clock(one.Since),
			}); err != nil {
				return err
			}
		}
		return nil
	}
	if len(on) == 0 {
		_, _ = fmt.Fprintln(env.Stdout, "nothing is paused")
		return nil
	}
	t := cli.NewTable(env.Stdout, "kind", "merchant", "since", "by", "reason")
	for _, one := range on {
		t.Row(cmp.Or(one.Kind, "every"), cmp.Or(one.Merchant, "every"), cli.Clock(one.Since), one.By, one.Reason)
	}
	return t.Flush()
}

// told is the result of pause and resume.
func (b *Brake) told(env cli.Env, did string) error {
	return b.Format.Print(env, map[string]string{"did": did, "kind": b.Kind, "merchant": b.Merchant}, "%s: %s\n", did, b.what())
}
