package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	rmqproducer "github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/sirupsen/logrus"
	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/alipay/openssl"
	"refundd/consumer"
	"refundd/dedupe"
	"refundd/producer"
)

// roleGateway is the argument that makes this program Alipay for the stages, so
// that its CPU time is not ours. The next one is the folder of the keys.
const roleGateway = "gateway"

func serveGateway(ctx context.Context, folder string) error {
	keys, err := alipaytest.LoadOrCreateKeys(folder)
	if err != nil {
		return err
	}
	g, err := startGateway(ctx, keys, 0)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(os.Stdout, g.url); err != nil {
		return err
	}
	<-ctx.Done()
	g.close()
	return nil
}

// toldAgain is what a decided refund costs that is delivered again.
type toldAgain struct {
	signer     string
	signatures float64
}

// stage is one part of a refund, which works on the refund number i.
type stage struct {
	name string
	do   func(ctx context.Context, i int) error
}

// stages prints what each part of a refund costs this process, one after the
// other, and what the whole flow costs. What the sum lacks of the whole is the
// flow itself: the note, the log line, contexts, metrics. It returns what a decided
// refund costs that is delivered again.
func (b *bench) stages(ctx context.Context, out io.Writer) (again []toldAgain, err error) {
	t, err := b.home.createTopics(ctx, fmt.Sprintf("bench-%d-stages", os.Getpid()), b.queues)
	if err != nil {
		return nil, err
	}
	defer b.home.deleteTopics(t)
	if err := b.home.emptyRedis(ctx); err != nil {
		return nil, err
	}
	url, stop, err := b.gatewayProcess(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	store, err := dedupe.New(b.home.redis, dedupe.Config{Prefix: "refundd:", Lease: time.Minute, Keep: time.Hour})
	if err != nil {
		return nil, err
	}
	sdk, err := rocketmq.NewProducer(
		rmqproducer.WithNsResolver(primitive.NewPassthroughResolver(consumer.NameServerURLs([]string{b.home.nameServer}))),
		rmqproducer.WithGroupName(t.group+"-producer"), rmqproducer.WithRetry(0))
	if err != nil {
		return nil, err
	}
	if err := sdk.Start(); err != nil {
		return nil, err
	}
	defer func() { _ = sdk.Shutdown() }()
	tell := producer.New(sdk, producer.Config{EventTopic: t.event, RetryTopic: t.retry, ParkedTopic: t.parked})
	signers := []struct {
		name   string
		signer crypto.Signer
	}{{"go", b.keys.AppPrivate}}
	if fast, err := openssl.New(b.keys.AppPrivate); err == nil {
		signers = append(signers, struct {
			name   string
			signer crypto.Signer
		}{"openssl", fast})
	}
	one := signature(b.keys)
	fmt.Fprintf(out, "\nCPU of the parts of a refund, one at a time; a signature of crypto/rsa takes %d µs; load average %s\n\n",
		one.Microseconds(), loadAverage())
	rows := [][]string{{"signer", "decode", "claim", "sign", "call", "verify", "encode", "settle", "publish", "sum", "the whole flow", "told again"}}
	for n, s := range signers {
		client, err := alipay.New(alipay.Config{
			Gateway: url, AppID: appID, Signer: s.signer, AlipayKeys: []*rsa.PublicKey{b.keys.AlipayPublic},
		})
		if err != nil {
			return nil, err
		}
		row := []string{s.name}
		sum := time.Duration(0)
		took := map[string]time.Duration{}
		for _, p := range b.parts(n*100_000, s.signer, client, store, tell, t) {
			each, err := cpuOf(ctx, p)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			switch p.name {
			case "call": // it signs and verifies, too, and verifying comes after it
				each -= took["sign"] + took["verify"]
			case "whole":
				row = append(row, micro(sum, one))
			case "again":
				again = append(again, toldAgain{s.name, float64(each) / float64(one)})
			}
			took[p.name] = each
			sum += each
			row = append(row, micro(each, one))
		}
		client.CloseIdleConnections()
		// The parts run in an order in which call comes after verify.
		row[4], row[5] = row[5], row[4]
		rows = append(rows, row)
	}
	printRows(out, rows)
	return again, nil
}

func micro(d, signature time.Duration) string {
	return fmt.Sprintf("%d µs, %.2f", d.Microseconds(), float64(d)/float64(signature))
}

// cpuOf is the CPU time of one round of a stage, after some to warm up.
func cpuOf(ctx context.Context, s stage) (time.Duration, error) {
	const warmUp, rounds = 50, 1000
	var begin time.Duration
	for i := range warmUp + rounds {
		if i == warmUp {
			begin = ownCPU()
		}
		if err := s.do(ctx, i); err != nil {
			return 0, err
		}
	}
	return (ownCPU() - begin) / rounds, nil
}

func (b *bench) parts(base int, signer crypto.Signer, client *alipay.Client, store *dedupe.Store, tell *producer.Producer, t topics) []stage {
	number := func(what string, i int) string { return fmt.Sprintf("%s-%07d", what, base+i) }
	body := func(what string, i int) []byte {
		text, _ := json.Marshal(map[string]string{"out_request_no": number("R-"+what, i), "out_trade_no": number("T-"+what, i), "refund_amount": amount})
		return text
	}
	id := func(i int) dedupe.Identity {
		return dedupe.Identity{AppID: appID, Kind: "refund", OutRequestNo: number("R-claim", i)}
	}
	event := func(i int) producer.Event {
		return producer.Event{
			ID: strings.Repeat("0a", 16), Time: time.Now(), Subject: number("R-event", i), Kind: producer.KindRefund, Outcome: producer.Succeeded,
			AppID: appID, OutRequestNo: number("R-event", i), OutTradeNo: number("T-event", i), TradeNo: "2026010107139631834483767358",
			AmountFen: 1600, TotalRefundedFen: 1600, ConfirmedBy: producer.ByResponse, RefundedAt: time.Now().Truncate(time.Second),
			AlipayCode: "10000", Calls: 1,
		}
	}
	encoded, _ := event(0).Encode()
	note := make([]byte, 400)
	digest := sha256.Sum256(note)
	verified, _ := rsa.SignPKCS1v15(nil, b.keys.AlipayPrivate, crypto.SHA256, digest[:])
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	handler := consumer.NewHandler(consumer.Config{
		AppID: appID, Topics: map[consumer.Kind]string{consumer.KindRefund: t.command},
		RetryTopic: t.retry, EventTopic: t.event, ParkedTopic: t.parked,
		Lease: time.Minute, Keep: time.Hour, MaxAge: time.Hour, QueryAfter: 10 * time.Second, AlipayTimeout: 15 * time.Second,
		RetryDelays: []time.Duration{10 * time.Second}, Limits: consumer.Limits{Spacing: 3 * time.Second},
	}, consumer.Dependencies{
		Alipay: client, Records: store, Publisher: tell, Gate: consumer.NewGate(1), Health: consumer.NewHealth(quiet), Metrics: uncounted{}, Log: quiet,
	})
	return []stage{
		{"decode", func(_ context.Context, i int) error {
			cmd, err := consumer.DecodeCommand(consumer.KindRefund, body("decode", i))
			_ = cmd.Fingerprint()
			return err
		}},
		{"claim", func(ctx context.Context, i int) error {
			_, _, err := store.ClaimWithSlot(ctx,
				dedupe.ClaimRequest{ID: id(i), Fingerprint: "1:x", Token: dedupe.NewToken(), Note: note},
				dedupe.Slot{Trade: number("T-claim", i), Spacing: 3 * time.Second})
			return err
		}},
		{"sign", func(_ context.Context, _ int) error {
			_, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
			return err
		}},
		{"verify", func(context.Context, int) error {
			return rsa.VerifyPKCS1v15(b.keys.AlipayPublic, crypto.SHA256, digest[:], verified)
		}},
		{"call", func(ctx context.Context, i int) error {
			_, err := client.Refund(ctx, &alipay.RefundRequest{OutRequestNo: number("R-call", i), OutTradeNo: number("T-call", i), RefundAmount: 1600})
			return err
		}},
		{"encode", func(_ context.Context, i int) error {
			e, err := event(i).Encode()
			_ = e.Stored()
			return err
		}},
		{"settle", func(ctx context.Context, i int) error {
			_, err := store.Settle(ctx, dedupe.SettleRequest{ID: id(i), Fingerprint: "1:x", Succeeded: true, Event: encoded.Stored()})
			return err
		}},
		{"publish", func(ctx context.Context, _ int) error { return tell.Publish(ctx, encoded) }},
		{"whole", func(ctx context.Context, i int) error {
			d := consumer.Delivery{Topic: t.command, MsgID: number("M", i), Body: body("whole", i), Born: time.Now()}
			if !handler.Handle(ctx, d).Acknowledged() {
				return fmt.Errorf("%s was not acknowledged", d.MsgID)
			}
			return nil
		}},
		{"again", func(ctx context.Context, i int) error { // what the stage before has decided
			d := consumer.Delivery{Topic: t.command, MsgID: number("M", i), Body: body("whole", i), Born: time.Now()}
			if !handler.Handle(ctx, d).Acknowledged() {
				return fmt.Errorf("%s was not acknowledged", d.MsgID)
			}
			return nil
		}},
	}
}

// gatewayProcess starts Alipay in a process of its own.
func (b *bench) gatewayProcess(ctx context.Context) (url string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, self, roleGateway, b.folder)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	url, err = bufio.NewReader(pipe).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, err
	}
	return strings.TrimSpace(url), stop, nil
}

// uncounted are metrics that nobody reads.
type uncounted struct{}

func (uncounted) Command(string, string, time.Time)  {}
func (uncounted) Inflight(int)                       {}
func (uncounted) Call(string, string, time.Duration) {}
func (uncounted) Published(string)                   {}
func (uncounted) PublishFailed(string)               {}
func (uncounted) Retried(string)                     {}
func (uncounted) Parked(string)                      {}
func (uncounted) Contradiction()                     {}
