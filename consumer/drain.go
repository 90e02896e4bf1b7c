package consumer

import (
	"context"
	"fmt"
	"time"
)

// puller is the SDK's object as it is watched and drained.
type puller interface {
	Suspend()
	Resume()
	Shutdown() error
	GetOffsetDiffMap() map[string]int64
}

const (
	watchEvery = 500 * time.Millisecond
	probeEvery = 2 * time.Second
	// probeTime bounds a probe. With the pause between two it stays below
	// troubleAfter, so that one silent master does not make the others look silent.
	probeTime = 1500 * time.Millisecond
)

// Watch probes Redis, suspends intake while a part is in trouble and resumes it
// (R12), until ctx ends.
func (c *Consumer) Watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for probed := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Since(probed) >= probeEvery || c.health.Failing(PartRedis) {
			probe, cancel := context.WithTimeout(ctx, probeTime)
			masters := c.cfg.Probe(probe)
			cancel()
			if ctx.Err() != nil {
				return
			}
			c.health.Wrote(masters)
			probed = time.Now()
		}
		c.suspend(c.trouble())
	}
}

// trouble: a part that intake needs has failed for a while.
func (c *Consumer) trouble() bool {
	return c.health.Trouble(PartRocketMQ) || c.health.Trouble(PartRedis)
}

// suspend is repeated while in trouble, because an operator's reset of
// offsets silently resumes the SDK.
func (c *Consumer) suspend(trouble bool) {
	sdk := c.running()
	switch {
	case sdk == nil || c.gate.Stopping():
	case trouble:
		sdk.Suspend()
		c.suspended.Store(true)
	case c.suspended.Load():
		sdk.Resume()
		c.suspended.Store(false)
	}
}

// Suspended reports whether intake is suspended because of trouble.
func (c *Consumer) Suspended() bool { return c.suspended.Load() }

// running is the SDK object, nil before the start and from the stop on.
func (c *Consumer) running() puller {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sdk
}

// Lag is the number of messages behind, by topic, as far as the SDK knows it.
func (c *Consumer) Lag() map[string]int64 {
	sdk := c.running()
	if sdk == nil {
		return nil
	}
	return sdk.GetOffsetDiffMap()
}

// Stop drains (R11): intake off, new and held deliveries stay at the gate,
// those in flight finish. At the soft deadline their Alipay calls are cut and
// their claims released; shortly before ctx's end they are left to their leases.
// Then the SDK may write down what was acknowledged, and is shut down, for five
// seconds at most and never beyond ctx's end. An error means that deliveries were
// left. Stopping again waits for the first stop and says the same.
func (c *Consumer) Stop(ctx context.Context, soft time.Duration) error {
	c.stop.Do(func() { c.stopErr = c.drain(ctx, soft) })
	return c.stopErr
}

func (c *Consumer) drain(ctx context.Context, soft time.Duration) error {
	c.mu.Lock()
	sdk := c.sdk
	c.sdk, c.stopped = nil, true
	c.mu.Unlock()
	if sdk != nil {
		sdk.Suspend()
	}
	c.gate.Close()
	err := c.waitForDeliveries(ctx, soft)
	c.cancel()
	c.mu.Lock()
	starting := c.starting
	c.mu.Unlock()
	switch {
	case sdk != nil:
		c.close(ctx, sdk)
	case !starting: // else an SDK object may be delivering already; see abandon
		c.gate.Open()
	}
	if err != nil {
		return fmt.Errorf("drain: deliveries were still in flight: %w", err)
	}
	return nil
}

// waitForDeliveries waits for those in flight, and leaves an eighth of the time to
// the SDK.
func (c *Consumer) waitForDeliveries(ctx context.Context, soft time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-time.Until(deadline)/8))
		defer cancel()
	}
	softCtx, cancel := context.WithTimeout(ctx, soft)
	defer cancel()
	if c.gate.Wait(softCtx) == nil {
		return nil
	}
	c.log.Warn("soft deadline: Alipay calls in flight are cut short")
	c.cancel()
	return c.gate.Wait(ctx)
}

// closeTime bounds how long a stop waits for the SDK's own end, which takes a
// time-out of dialling for each queue where the broker is silent.
const closeTime = 5 * time.Second

// close ends the SDK object and then opens the gate. One that does not end in
// time goes on without anybody waiting, behind a gate that stays closed.
func (c *Consumer) close(ctx context.Context, sdk puller) {
	ctx, cancel := context.WithTimeout(ctx, closeTime)
	defer cancel()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		c.commit(sdk)
		c.shutDown(sdk)
		c.gate.Open()
	}()
	select {
	case <-closed:
	case <-ctx.Done():
		c.log.WithField("part", string(PartRocketMQ)).
			Warn("the consumer does not shut down in time and is left behind: what was acknowledged may be delivered again")
	}
}

// commit writes down what was acknowledged while the connections are still
// there. The SDK's own shutdown does it too, but closes them at once: the
// broker's first answer then resets the connection, and the offsets that it
// has not read by then are lost, so that finished commands come again.
func (c *Consumer) commit(sdk puller) {
	time.Sleep(c.cfg.Settle) //nolint:forbidigo // the SDK gives no sign when its bookkeeping is done
	offsets, ok := sdk.(interface{ PersistConsumerOffset() error })
	if !ok {
		return
	}
	if err := offsets.PersistConsumerOffset(); err != nil {
		c.log.WithError(err).Warn("what was acknowledged could not be written down; it is delivered again")
		return
	}
	time.Sleep(c.cfg.Settle) //nolint:forbidigo // nor when the broker has read it
}

func (c *Consumer) shutDown(sdk puller) {
	if err := sdk.Shutdown(); err != nil {
		c.log.WithError(err).Warn("the consumer's shutdown complained")
	}
}
