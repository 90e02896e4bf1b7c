package remoting

import "context"

// codeConsumerList is GET_CONSUMER_LIST_BY_GROUP.
const codeConsumerList = 38

// Consumers lists the client ids that the broker knows as live members of the
// group. A broker that knows none refuses with a RefusedError.
func Consumers(ctx context.Context, broker, group string) ([]string, error) {
	body, err := call(ctx, broker, codeConsumerList, map[string]string{"consumerGroup": group}, nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		ConsumerIDList []string `json:"consumerIdList"`
	}
	if err := decode(body, &list); err != nil {
		return nil, err
	}
	return list.ConsumerIDList, nil
}
