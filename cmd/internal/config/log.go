package config

import (
	"context"
	"io"

	"github.com/sirupsen/logrus"
)

// NewLogger returns a logger that writes to w, which is standard error in a real process, with cfg's level and format.
// A level that Load would have refused counts as info.
func NewLogger(cfg Config, w io.Writer) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(w)
	const stamp = "2006-01-02T15:04:05.000Z07:00"
	if cfg.LogFormat == FormatText {
		log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: stamp})
	} else {
		log.SetFormatter(&logrus.JSONFormatter{TimestampFormat: stamp})
	}
	if level, err := logrus.ParseLevel(cfg.LogLevel); err == nil {
		log.SetLevel(level)
	}
	return log
}

// RedisLogger takes what go-redis says by itself, such as every failed dial, for redis.SetLogger: at level debug,
// because whoever called Redis gets and logs the error anyway. That setting is one per process, so programs make it,
// not packages.
type RedisLogger struct {
	Log logrus.FieldLogger
}

// Printf logs one line.
func (l RedisLogger) Printf(_ context.Context, format string, args ...any) {
	l.Log.WithField("part", "redis").Debugf(format, args...)
}
