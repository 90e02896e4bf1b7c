package flags

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
	"refundd/cmd/internal/doctor"
	"refundd/cmd/internal/tap"
)

// Connection holds the flags of commands that reach RocketMQ.
type Connection struct {
	nameServers string
	verbose     bool
}

// Register adds them.
func (c *Connection) Register(cmd *cobra.Command) {
	set := cmd.Flags()
	set.StringVar(&c.nameServers, "nameserver", "", "`host:port,...` of RocketMQ's name servers; default REFUNDD_ROCKETMQ_NAMESERVERS")
	set.BoolVarP(&c.verbose, "verbose", "v", false, "log of the RocketMQ client to standard error")
}

// Open checks how to reach the cluster, and that the topic is there.
func (c *Connection) Open(ctx context.Context, env cli.Env, topic string) (tap.Cluster, error) {
	cluster, err := c.Cluster(env)
	if err != nil {
		return tap.Cluster{}, err
	}
	c.RedirectLog(env)
	if err := cluster.CheckTopic(ctx, topic); err != nil {
		if errors.Is(err, tap.ErrNoTopic) {
			return tap.Cluster{}, cli.WrongUsage("--topic: %v", err)
		}
		return tap.Cluster{}, fmt.Errorf("ask for topic %s: %w", topic, err)
	}
	return cluster, nil
}

// Cluster is how to reach it.
func (c *Connection) Cluster(env cli.Env) (tap.Cluster, error) {
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

// RedirectLog keeps the SDK from writing to standard error by itself.
func (c *Connection) RedirectLog(env cli.Env) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	if c.verbose {
		log.SetOutput(env.Stderr)
		log.SetLevel(logrus.DebugLevel)
	}
	env.Redirect(log)
}

// TopicName is the flag's, else the variable's, else the contract's.
func TopicName(given string, env cli.Env, variable, standard string) string {
	return cmp.Or(given, env.Getenv(variable), standard)
}

// Group adds the flag that names the group that topics are read as. Its offsets are never moved.
func Group(cmd *cobra.Command, group *string) {
	cmd.Flags().StringVar(group, "group", tap.ToolsGroup, "consumer `group` to read as; brokers have the default one from birth. Its offsets are never moved")
}

// NotTheServices refuses the service's own group.
func NotTheServices(group string, env cli.Env) error {
	if group == "" || group == cmp.Or(env.Getenv("REFUNDD_ROCKETMQ_GROUP"), "refundd") {
		return cli.WrongUsage("--group: %q is the service's own group, or none; it would take messages from the service", group)
	}
	return nil
}

// Topic adds a flag that completes names of topics; others may be given.
func Topic(cmd *cobra.Command, env cli.Env, value *string, name, usage string) {
	cmd.Flags().StringVar(value, name, "", usage)
	err := cmd.RegisterFlagCompletionFunc(name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, t := range doctor.Topics(env) {
			names = append(names, t.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag was added above
	}
}
