package main

import (
	"fmt"
	"strings"
)

// nameServerConf is the name server's whole configuration.
func nameServerConf(s settings) string {
	return fmt.Sprintf("listenPort=%d\n", s.ports.nameServer)
}

// brokerConf is a broker as ../broker.conf wants one in production, but for one
// machine: small files, and flushes in the background unless asked for. The
// store is a path as the broker sees it; nameServer an address likewise.
// Clients reach the broker at 127.0.0.1 whatever it runs in. The second broker
// has a name and ports of its own.
func brokerConf(s settings, part, nameServer, store string) string {
	name, port, ha := "broker-a", s.ports.broker, s.ports.brokerHA
	if part == partSecond {
		name, port, ha = "broker-b", s.ports.second, s.ports.secondHA
	}
	flush := "ASYNC_FLUSH"
	if s.syncFlush {
		flush = "SYNC_FLUSH"
	}
	return lines(
		"brokerClusterName=DefaultCluster",
		"brokerName="+name,
		"brokerId=0",
		"brokerRole=ASYNC_MASTER",
		"flushDiskType="+flush,
		"brokerIP1=127.0.0.1",
		fmt.Sprintf("listenPort=%d", port),
		fmt.Sprintf("haListenPort=%d", ha),
		"namesrvAddr="+nameServer,
		"autoCreateTopicEnable=false",
		"autoCreateSubscriptionGroup=false",
		"storePathRootDir="+store,
		"storePathCommitLog="+store+"/commitlog",
		// Only sizes from here: 50 MB of mostly empty files instead of 2.5 GB.
		"mappedFileSizeCommitLog=16777216",
		"mappedFileSizeConsumeQueue=600000",
		"mappedFileSizeTimerLog=1048576",
		"maxHashSlotNum=5000",
		"maxIndexNum=20000",
	)
}

// redisConf keeps what Redis confirmed over a restart, as ../redis.conf does.
func redisConf(s settings, bind string, port int, folder string) string {
	fsync := "everysec"
	if s.syncFlush {
		fsync = "always"
	}
	return lines(
		"bind "+bind,
		fmt.Sprintf("port %d", port),
		"protected-mode no",
		"daemonize no",
		"dir "+folder,
		"save \"\"",
		"appendonly yes",
		"appendfsync "+fsync,
		"maxmemory-policy noeviction",
	)
}

func lines(text ...string) string {
	return strings.Join(text, "\n") + "\n"
}
