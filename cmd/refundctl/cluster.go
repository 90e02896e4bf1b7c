package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/config"
	"refundd/cmd/internal/tap"
)

// connection holds the flags that every command has.
type connection struct {
	nameServers string
	verbose     bool
}

func (c *connection) register(cmd *cobra.Command) {
	set := cmd.Flags()
	set.StringVar(&c.nameServers, "nameserver", "", "`host:port,...` of RocketMQ's name servers; default REFUNDD_ROCKETMQ_NAMESERVERS")
	set.BoolVarP(&c.verbose, "verbose", "v", false, "log of the RocketMQ client to standard error")
}

// open checks how to reach the cluster, and that the topic is there.
func (c *connection) open(ctx context.Context, env cli.Env, topic string) (tap.Cluster, error) {
	cluster, err := c.cluster(env)
	if err != nil {
		return tap.Cluster{}, err
	}
	c.redirectLog(env)
	if err := cluster.CheckTopic(ctx, topic); err != nil {
		if errors.Is(err, tap.ErrNoTopic) {
			return tap.Cluster{}, cli.WrongUsage("--topic: %v", err)
		}
		return tap.Cluster{}, fmt.Errorf("ask for topic %s: %w", topic, err)
	}
	return cluster, nil
}

func (c *connection) cluster(env cli.Env) (tap.Cluster, error) {
	name, text := "--nameserver", c.nameServers
	if text == "" {
		name, text = "REFUNDD_ROCKETMQ_NAMESERVERS", env.Getenv("REFUNDD_ROCKETMQ_NAMESERVERS")
	}
	if strings.TrimSpace(text) == "" {
		return tap.Cluster{}, cli.WrongUsage("--nameserver or REFUNDD_ROCKETMQ_NAMESERVERS is required")
	}
	var cluster tap.Cluster
	for server := range strings.SplitSeq(text, ",") {
		server = strings.TrimSpace(server)
		host, port, err := net.SplitHostPort(server)
		number, portErr := strconv.ParseUint(port, 10, 16)
		if err != nil || host == "" || portErr != nil || number == 0 {
			return tap.Cluster{}, cli.WrongUsage("%s: %q is not host:port", name, server)
		}
		cluster.NameServers = append(cluster.NameServers, server)
	}
	key, file := env.Getenv("REFUNDD_ROCKETMQ_ACCESS_KEY"), env.Getenv("REFUNDD_ROCKETMQ_SECRET_KEY_FILE")
	switch {
	case key == "" && file == "":
		return cluster, nil
	case key == "":
		return tap.Cluster{}, cli.WrongUsage("REFUNDD_ROCKETMQ_ACCESS_KEY is required with REFUNDD_ROCKETMQ_SECRET_KEY_FILE")
	case file == "":
		return tap.Cluster{}, cli.WrongUsage("REFUNDD_ROCKETMQ_SECRET_KEY_FILE is required with REFUNDD_ROCKETMQ_ACCESS_KEY")
	}
	secret, err := config.PasswordFile(file)
	if err != nil {
		return tap.Cluster{}, cli.WrongUsage("REFUNDD_ROCKETMQ_SECRET_KEY_FILE: %s: %v", file, err)
	}
	cluster.AccessKey, cluster.SecretKey = key, secret
	return cluster, nil
}

// redirectLog keeps the SDK from writing to standard error by itself.
func (c *connection) redirectLog(env cli.Env) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	if c.verbose {
		log.SetOutput(env.Stderr)
		log.SetLevel(logrus.DebugLevel)
	}
	env.Redirect(log)
}

// topic is the flag's, else the variable's, else the contract's.
func topic(given string, env cli.Env, variable, standard string) string {
	return cmp.Or(given, env.Getenv(variable), standard)
}

// groupFlag names the group that topics are read as. Its offsets are never moved.
func groupFlag(cmd *cobra.Command, group *string) {
	cmd.Flags().StringVar(group, "group", tap.ToolsGroup, "consumer `group` to read as; brokers have the default one from birth. Its offsets are never moved")
}

// notTheServices refuses the service's own group.
func notTheServices(group string, env cli.Env) error {
	if group == "" || group == cmp.Or(env.Getenv("REFUNDD_ROCKETMQ_GROUP"), "refundd") {
		return cli.WrongUsage("--group: %q is the service's own group, or none; it would take messages from the service", group)
	}
	return nil
}
