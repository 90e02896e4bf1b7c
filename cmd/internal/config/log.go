package config

import (
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
