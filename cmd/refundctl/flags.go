package main

import (
	"strings"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/doctor"
	"refundd/consumer"
	"refundd/producer"
)

func kinds() []string {
	return []string{string(consumer.KindRefund), string(consumer.KindCouponRefund)}
}

// eventTypes are the outcomes, and the types without their version; full has them
// with it.
func eventTypes() (short, full []string) {
	var types []string
	for _, t := range producer.Types() {
		name := strings.TrimSuffix(string(t), ".v1")
		types, full = append(types, name), append(full, string(t))
		if outcome, ok := strings.CutPrefix(name, string(producer.KindRefund)+"."); ok {
			short = append(short, outcome)
		}
	}
	return append(short, types...), full
}

func reasons() []string {
	var list []string
	for _, r := range producer.Reasons() {
		list = append(list, string(r))
	}
	return list
}

// topicFlag completes names of topics; others may be given.
func topicFlag(cmd *cobra.Command, env cli.Env, value *string, name, usage string) {
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
