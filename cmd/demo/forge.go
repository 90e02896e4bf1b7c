package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// forge posts a notification that Alipay never signed, and reports the answer.
func forge(ctx context.Context, notifyURL string) (answer string, err error) {
	form := url.Values{
		"app_id": {appID}, "notify_id": {"forged-1"}, "notify_time": {"2026-01-01 12:00:00"}, "out_trade_no": {"trade-01"},
		"out_biz_no": {"demo-01"}, "refund_fee": {"1000.00"}, "sign_type": {"RSA2"}, "sign": {"Zm9yZ2Vk"},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, notifyURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", fmt.Errorf("forge a notification: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("forge a notification: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 100))
	if err != nil {
		return "", fmt.Errorf("forge a notification: %w", err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body), nil
}
