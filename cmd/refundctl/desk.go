package main

import (
	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/desk"
	"refundd/cmd/internal/flags"
)

// deskFlags are those of commands that look at refunds through the records and
// the topics.
type deskFlags struct {
	flags.Connection
	appID string
	group string
}

func (f *deskFlags) register(cmd *cobra.Command) {
	f.Register(cmd)
	cmd.Flags().StringVar(&f.appID, "app-id", "", "`id` of the app at Alipay; default REFUNDD_ALIPAY_APP_ID")
	flags.Group(cmd, &f.group)
}

// open opens the desk. The caller calls done at the end.
func (f *deskFlags) open(env cli.Env) (d *desk.Desk, done func(), err error) {
	if err := flags.NotTheServices(f.group, env); err != nil {
		return nil, nil, err
	}
	cluster, err := f.Cluster(env)
	if err != nil {
		return nil, nil, err
	}
	f.RedirectLog(env)
	return desk.Open(env, desk.Config{Cluster: cluster, Group: f.group, AppID: f.appID})
}
