package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// metrics are the values that a process tells, by name and labels as it spells
// them.
type metrics map[string]float64

// counted is what a process has counted so far.
type counted struct {
	objects, size float64 // allocated
	exchanges     float64 // with Redis, for commands; NaN where it is not told
}

func (p *process) metrics(ctx context.Context) (metrics, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s", resp.Status)
	}
	return parseMetrics(string(text)), nil
}

func parseMetrics(text string) metrics {
	m := metrics{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		end := strings.LastIndexByte(line, ' ')
		if end < 0 || line[0] == '#' {
			continue
		}
		if value, err := strconv.ParseFloat(line[end+1:], 64); err == nil {
			m[line[:end]] = value
		}
	}
	return m
}

func (m metrics) has(names ...string) bool {
	for _, name := range names {
		if _, ok := m[name]; !ok {
			return false
		}
	}
	return true
}

// exchanges is how many round trips to Redis commands have made; those that
// watch, such as pings, go on without any command.
func (m metrics) exchanges() float64 {
	sum := 0.0
	for _, op := range []string{"claim", "settle", "release", "confirm", "amend", "limit"} {
		n, ok := m[`refundd_redis_call_seconds_count{op="`+op+`"}`]
		if !ok {
			return math.NaN()
		}
		sum += n
	}
	return sum
}
