package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/redis/go-redis/v9"
	"refundd/alipay"
	"refundd/alipay/openssl"
)

// roleBare is the argument that makes this program the bare contender; the next
// one is the signer.
const roleBare = "bare"

// bare does with refundd's libraries only what no such service can leave out:
// take a message, two exchanges with Redis, one signed call, one verified answer,
// one event stored. It decides nothing, remembers nothing worth reading, logs and
// counts nothing. What refundd costs more than this is refundd's own; what the
// bare contender costs more than a signature belongs to the libraries.
func bare(ctx context.Context, signer string) error {
	store, err := openRedis()
	if err != nil {
		return err
	}
	b := &bareRefunds{
		redis: store, gateway: os.Getenv("REFUNDD_ALIPAY_GATEWAY"), app: os.Getenv("REFUNDD_ALIPAY_APP_ID"),
		topic: os.Getenv("REFUNDD_TOPIC_EVENT"),
		http:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: bareWorkers, MaxIdleConns: bareWorkers}, Timeout: 15 * time.Second},
	}
	if err := b.readKeys(signer); err != nil {
		return err
	}
	if b.events, err = startProducer(); err != nil {
		return err
	}
	return consume(ctx, "bare", bareWorkers, b.refund, func() {
		_ = b.events.Shutdown()
		_ = store.Close()
	})
}

// bareWorkers are refundd's by default.
const bareWorkers = 128

type bareRefunds struct {
	redis               *redis.Client
	http                *http.Client
	gateway, app, topic string
	signer              crypto.Signer
	public              *rsa.PublicKey
	events              rocketmq.Producer
}

func (b *bareRefunds) readKeys(signer string) error {
	text, err := os.ReadFile(filepath.Clean(os.Getenv("REFUNDD_ALIPAY_PRIVATE_KEY_FILE")))
	if err != nil {
		return err
	}
	own, err := alipay.ParsePrivateKey(text)
	if err != nil {
		return err
	}
	b.signer = own
	if signer == "openssl" {
		if b.signer, err = openssl.New(own); err != nil {
			return err
		}
	}
	if text, err = os.ReadFile(filepath.Clean(os.Getenv("REFUNDD_ALIPAY_PUBLIC_KEY_FILE"))); err != nil {
		return err
	}
	keys, err := alipay.ParsePublicKeys(text)
	if err != nil {
		return err
	}
	b.public = keys[0]
	return nil
}

func (b *bareRefunds) refund(ctx context.Context, m *primitive.MessageExt) error {
	var cmd struct {
		Number string `json:"out_request_no"`
		Trade  string `json:"out_trade_no"`
		Amount string `json:"refund_amount"`
	}
	if err := json.Unmarshal(m.Body, &cmd); err != nil {
		return err
	}
	key := "bare:" + cmd.Number
	if first, err := b.redis.SetNX(ctx, key, m.MsgId, time.Minute).Result(); err != nil || !first {
		return err
	}
	if err := b.call(ctx, m.Body); err != nil {
		return fmt.Errorf("refund %s: %w", cmd.Number, err)
	}
	event := fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/bare","type":"refund.succeeded.v1","subject":%[1]q,"data":{"kind":"refund","outcome":"succeeded","out_request_no":%[1]q,"out_trade_no":%q,"amount":%q}}`,
		cmd.Number, cmd.Trade, cmd.Amount)
	if err := b.redis.Set(ctx, key, event, time.Hour).Err(); err != nil {
		return err
	}
	_, err := b.events.SendSync(ctx, primitive.NewMessage(b.topic, event).WithKeys([]string{cmd.Number}))
	return err
}

// call sends the command as it is: its members are Alipay's own.
func (b *bareRefunds) call(ctx context.Context, command []byte) error {
	form := map[string]string{
		"app_id": b.app, "charset": "utf-8", "format": "JSON", "method": "alipay.trade.refund", "sign_type": "RSA2",
		"timestamp": time.Now().Format(time.DateTime), "version": "1.0", "biz_content": string(command),
	}
	names := make([]string, 0, len(form)+1)
	for name := range form {
		names = append(names, name)
	}
	slices.Sort(names)
	var text, body strings.Builder
	for i, name := range names {
		if i > 0 {
			text.WriteByte('&')
			body.WriteByte('&')
		}
		text.WriteString(name + "=" + form[name])
		body.WriteString(name + "=" + url.QueryEscape(form[name]))
	}
	digest := sha256.Sum256([]byte(text.String()))
	signature, err := b.signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	body.WriteString("&sign=" + url.QueryEscape(base64.StdEncoding.EncodeToString(signature)))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.gateway, strings.NewReader(body.String()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded;charset=utf-8")
	resp, err := b.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	return b.check(answer)
}

// check finds node and signature where the gateway of this bench has them.
func (b *bareRefunds) check(answer []byte) error {
	_, rest, found := bytes.Cut(answer, []byte(`_response":`))
	node, rest, foundSign := bytes.Cut(rest, []byte(`,"sign":"`))
	text, _, ended := bytes.Cut(rest, []byte(`"`))
	if !found || !foundSign || !ended {
		return errors.New("the answer has another form")
	}
	signature, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return err
	}
	digest := sha256.Sum256(node)
	if err := rsa.VerifyPKCS1v15(b.public, crypto.SHA256, digest[:], signature); err != nil {
		return err
	}
	if !bytes.Contains(node, []byte(`"fund_change":"Y"`)) {
		return errors.New("the money did not move")
	}
	return nil
}
