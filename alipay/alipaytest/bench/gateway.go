package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"refundd/alipay/alipaytest"
)

// serveArg makes the program the gateway.
const serveArg = "serve"

// answerNode is an answer such as Alipay's documents show.
const answerNode = `{"code":"10000","msg":"Success","trade_no":"2026010107139631834483767358","out_trade_no":"T-1",` +
	`"buyer_logon_id":"159****5620","fund_change":"Y","refund_fee":"12.50","send_back_fee":"12.50","gmt_refund_pay":"2026-11-27 15:45:57",` +
	`"refund_detail_item_list":[{"fund_channel":"ALIPAYACCOUNT","amount":"10.00","real_amount":"10.00","fund_type":"DEBIT_CARD"},` +
	`{"fund_channel":"COUPON","amount":"2.50"}],"store_name":"Store","buyer_user_id":"2088101117955611","refund_hyb_amount":"0.00"}`

func signedAnswer(keys *alipaytest.Keys) (string, error) {
	sig, err := signText(keys.AlipayPrivate, answerNode)
	if err != nil {
		return "", err
	}
	return `{"alipay_trade_refund_response":` + answerNode + `,"sign":"` + sig + `"}`, nil
}

func signText(key *rsa.PrivateKey, text string) (string, error) {
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return base64.StdEncoding.EncodeToString(sig), nil
}

// startGateway starts this program as a child that gives the answer to every
// request, and returns its base URL. The child ends when its standard input
// does: with stop, or with this process however it ends.
func startGateway(ctx context.Context, answer string) (baseURL string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, fmt.Errorf("start gateway: %w", err)
	}
	child := exec.CommandContext(ctx, self, serveArg)
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		return "", nil, fmt.Errorf("start gateway: %w", err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return "", nil, fmt.Errorf("start gateway: %w", err)
	}
	if err := child.Start(); err != nil {
		return "", nil, fmt.Errorf("start gateway: %w", err)
	}
	stop = func() {
		_ = in.Close()
		_ = child.Wait()
	}
	if _, err := io.WriteString(in, answer+"\n"); err != nil {
		stop()
		return "", nil, fmt.Errorf("start gateway: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("start gateway: %w", err)
	}
	return strings.TrimSpace(line), stop, nil
}

// serve is the child: the answer comes in as one line, the address goes out.
func serve(in io.Reader, out io.Writer) error {
	r := bufio.NewReader(in)
	answer, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: answering(strings.TrimSpace(answer)), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, r)
		_ = s.Close()
	}()
	if _, err := fmt.Fprintf(out, "http://%s\n", l.Addr()); err != nil {
		return err
	}
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func answering(answer string) http.Handler {
	body := []byte(answer)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header()["Content-Type"] = []string{"application/json"}
		_, _ = w.Write(body)
	})
}
