package service

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/consumer"
	"refundd/dedupe"
)

const (
	sweepEvery   = 5 * time.Minute
	measureEvery = 15 * time.Second
)

// sweep publishes again what the broker seems to have lost (R10).
func (s *service) sweep(ctx context.Context, h *consumer.Handler) {
	sweeper, err := dedupe.NewSweeper(s.store, dedupe.SweeperConfig{
		AppID: s.cfg.AlipayAppID, Every: sweepEvery, Republish: h.Republish,
		Alarm: func(u dedupe.Undecided, r dedupe.Record) {
			log := s.log.WithFields(logrus.Fields{"key": u.Key, "due": u.Due, "first_born": u.FirstBorn})
			switch {
			case r.Decided:
				log.Error("a refund was decided hours ago, and its event may not have been told: the broker may have lost its copy; the event is published")
			case r.Parked:
				log.Error("a refund was parked hours ago, and nobody may have been told: the broker may have lost its copy; it is parked once more")
			default:
				log.Error("an undecided refund is overdue by hours: the broker may have lost its retry; it is published again")
			}
		},
		Failed: func(err error) { s.log.WithError(err).Warn("the sweeper could not finish its round") },
	})
	if err != nil {
		s.log.WithError(err).Error("the sweeper cannot run")
		return
	}
	sweeper.Run(ctx)
}

// measure keeps the gauges that nobody else sets.
func (s *service) measure(ctx context.Context, intake *consumer.Consumer) {
	tick := time.NewTicker(measureEvery)
	defer tick.Stop()
	for {
		lag := intake.Lag()
		s.metrics.SetLag(lag)
		within, cancel := context.WithTimeout(ctx, measureEvery)
		totals, err := s.store.Totals(within, s.cfg.AlipayAppID)
		cancel()
		s.page.measured(lag, totals, err)
		if err == nil {
			s.metrics.SetUndecided(totals.Fen, totals.Oldest)
		} else if ctx.Err() == nil {
			s.log.WithError(err).Debug("cannot read what is undecided")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
