package rocketmqtest

// Request codes, as [Request.Code] shows them to a hook.
const (
	CodeSend                = 10
	CodePull                = 11
	CodeQueryMessage        = 12
	CodeQueryOffset         = 14
	CodeUpdateOffset        = 15
	CodeCreateTopic         = 17
	CodeUpdateBrokerConfig  = 25
	CodeBrokerConfig        = 26
	CodeSearchOffset        = 29
	CodeMaxOffset           = 30
	CodeMinOffset           = 31
	CodeHeartbeat           = 34
	CodeUnregister          = 35
	CodeSendBack            = 36
	CodeConsumerList        = 38
	CodeRoute               = 105
	CodeCreateGroup         = 200
	CodeGroupList           = 201
	CodeConsumerConnections = 203
	CodeClusterInfo         = 106
	CodeTopicList           = 206
	CodeDeleteTopic         = 215
	CodeDeleteTopicInNamesv = 216
	CodeSendV2              = 310
	CodeSendBatch           = 320

	codeMembersChanged = 40
)

// Response codes, for [Action.Code] of [Refuse] and [Status].
const (
	Success               = 0
	SystemError           = 1
	SystemBusy            = 2
	RequestNotSupported   = 3
	FlushDiskTimeout      = 10
	SlaveNotAvailable     = 11
	FlushSlaveTimeout     = 12
	MessageIllegal        = 13
	ServiceNotAvailable   = 14
	NoPermission          = 16
	TopicNotExist         = 17
	PullNotFound          = 19
	PullRetryImmediately  = 20
	PullOffsetMoved       = 21
	QueryNotFound         = 22
	SubscriptionNotExist  = 24
	SubscriptionGroupNone = 26
	ConsumerNotOnline     = 206
	FlowControl           = 215
)

// BrokerName is the broker's name in routes, which the SDK wants in a
// primitive.MessageQueue.
const BrokerName = "rocketmqtest"

// Limits and names of the Java broker's defaults.
const (
	clusterName      = "DefaultCluster"
	defaultTopic     = "TBW102"
	autoCreateQueues = 4
	maxBody          = 4 << 20
	maxProperties    = 1<<15 - 1
	maxTopicLength   = 127
	maxPullCount     = 32
	maxPullBytes     = 256 << 10
	maxTries         = 16
	maxFrame         = 16 << 20

	sysFlagCompressed = 1
	sysFlagPrepared   = 4
	pullCommits       = 1
	pullSuspends      = 2
	pullSubscribes    = 4

	propUniqKey       = "UNIQ_KEY"
	propDelay         = "DELAY"
	propTimerDelayMS  = "TIMER_DELAY_MS"
	propTimerDelaySec = "TIMER_DELAY_SEC"
	propTimerDeliver  = "TIMER_DELIVER_MS"
	propRealTopic     = "REAL_TOPIC"
	propRealQueue     = "REAL_QID"
	propRetryTopic    = "RETRY_TOPIC"
	propOriginID      = "ORIGIN_MESSAGE_ID"
)

func retryTopic(group string) string { return "%RETRY%" + group }

func deadLetterTopic(group string) string { return "%DLQ%" + group }
