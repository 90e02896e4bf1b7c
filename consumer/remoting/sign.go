package remoting

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the protocol's own
	"encoding/base64"
	"maps"
	"slices"
)

type credentialsKey struct{}

type credentials struct{ accessKey, secretKey string }

// Signed returns a context whose requests are signed for brokers with access
// control, as RocketMQ's own clients do. An empty access key signs nothing.
func Signed(ctx context.Context, accessKey, secretKey string) context.Context {
	if accessKey == "" {
		return ctx
	}
	return context.WithValue(ctx, credentialsKey{}, credentials{accessKey, secretKey})
}

// sign returns the fields with access key and signature: the HMAC-SHA1 over the
// values in the order of their names, then the body.
func sign(ctx context.Context, fields map[string]string, body []byte) map[string]string {
	c, ok := ctx.Value(credentialsKey{}).(credentials)
	if !ok {
		return fields
	}
	signed := map[string]string{"AccessKey": c.accessKey}
	maps.Copy(signed, fields)
	mac := hmac.New(sha1.New, []byte(c.secretKey))
	for _, name := range slices.Sorted(maps.Keys(signed)) {
		mac.Write([]byte(signed[name]))
	}
	mac.Write(body)
	signed["Signature"] = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return signed
}
