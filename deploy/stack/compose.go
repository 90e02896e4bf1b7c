package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

//go:embed compose.yaml
var composeFile []byte

// composeEngine runs the parts as containers of one Compose project. The
// containers keep their stores until close.
type composeEngine struct {
	project     string
	environment []string // what compose.yaml refers to
}

func newComposeEngine(ctx context.Context, folder string, set settings, log io.Writer) (*composeEngine, error) {
	e := newComposeProject(filepath.Base(folder), set)
	fmt.Fprintln(log, "stack: using Docker Compose, project "+e.project)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if _, err := e.compose(ctx, "create"); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

func newComposeProject(name string, set settings) *composeEngine {
	nameServer := partNameServer + ":" + strconv.Itoa(set.ports.nameServer)
	return &composeEngine{
		project: name,
		environment: []string{
			"STACK_ROCKETMQ_VERSION=" + rocketmqVersion,
			"STACK_NAMESRV_PORT=" + strconv.Itoa(set.ports.nameServer),
			"STACK_BROKER_PORT=" + strconv.Itoa(set.ports.broker),
			"STACK_REDIS_PORT=" + strconv.Itoa(set.ports.redis),
			"STACK_NAMESRV_CONF=" + nameServerConf(set),
			"STACK_BROKER_CONF=" + brokerConf(set, partBroker, nameServer, "/home/rocketmq/store"),
			"STACK_REDIS_CONF=" + redisConf(set, "0.0.0.0", 6379, "/data"),
		},
	}
}

// compose runs one subcommand on the embedded file.
func (e *composeEngine) compose(ctx context.Context, arguments ...string) (string, error) {
	all := append([]string{"compose", "--file", "-", "--project-name", e.project}, arguments...)
	return runToolInput(ctx, e.environment, bytes.NewReader(composeFile), "docker", all...)
}

func (e *composeEngine) start(ctx context.Context, part string) error {
	_, err := e.compose(ctx, "start", part)
	return err
}

func (e *composeEngine) stop(ctx context.Context, part string, signal syscall.Signal) error {
	if running, err := e.compose(ctx, "ps", "--quiet", "--status", "running", part); err != nil || running == "" {
		return err
	}
	if signal == syscall.SIGTERM {
		_, err := e.compose(ctx, "stop", "--timeout", "30", part)
		return err
	}
	_, err := e.compose(ctx, "kill", "--signal", "SIGKILL", part)
	return err
}

// failed knows nothing: a container that ends is seen by the wait's limit.
func (e *composeEngine) failed(string) error { return nil }

func (e *composeEngine) output(part string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	output, err := e.compose(ctx, "logs", "--no-color", "--tail", "20", part)
	if err != nil {
		return err.Error()
	}
	return output
}

func (e *composeEngine) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := e.compose(ctx, "down", "--volumes", "--remove-orphans", "--timeout", "0")
	return err
}
