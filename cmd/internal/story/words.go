package story

import (
	"refundd/cmd/internal/cli"
	"refundd/consumer"
)

// Outlook says what a delivery would do first, by consumer.Summary's Next.
func Outlook(next string) string {
	switch next {
	case "call":
		return "Alipay would be called"
	case "query":
		return "Alipay would be asked, and called only if it does not show the refund"
	case "succeed", "fail":
		return "it would be settled by what is known already"
	}
	return "it would wait, or be parked again: nothing has changed that is known here"
}

// Found says in words what a query showed; nothing for an answer that told nothing.
func Found(word string) string {
	switch word {
	case "ours", "old":
		return "the refund is there: the money moved"
	case "absent":
		return "there is no such refund"
	case "unproven":
		return "not found by out_order_no, which proves nothing"
	case "other":
		return "this number is there with another amount"
	case "closed":
		return "the refund is there and closed: the money did not move"
	case "pending":
		return "the refund is there and not decided yet"
	case "config":
		return "refused: keys, permissions or authorisation need a person"
	case "limited":
		return "not answered: too many calls"
	}
	return ""
}

// Act says what a person did, in a line.
func Act(a consumer.Act) string {
	return string(a.Deed) + " by " + a.By + " at " + cli.Clock(a.At) + ": " + a.Why
}
