package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"

	"github.com/redis/go-redis/v9"
)

const (
	// redisBuffer is what a connection reads and writes at once, in bytes. A claim
	// writes about 1 KiB, and larger ones go in parts. go-redis' default, 32 KiB each
	// way, was most of what this process keeps in memory.
	redisBuffer = 4 << 10
	// noPipelinePool makes claims, which are pipelines, use the connections of
	// everything else; go-redis would keep ten more for them, with 256 KiB each.
	noPipelinePool = -1
)

// OpenRedis returns a client for RedisURL in RedisMode with the password of the file. It connects when it is first
// used; the caller closes it. In mode sentinel the password is the nodes', and the Sentinels' too if the URL has a user.
//
// A call ends when its context does, which go-redis leaves to the socket time-outs by default. go-redis may repeat a
// command that it got no answer to, three times unless the URL says otherwise with max_retries.
func (c Config) OpenRedis() (redis.UniversalClient, error) {
	switch c.RedisMode {
	case ModeStandalone:
		o, err := redis.ParseURL(c.RedisURL)
		if err != nil {
			return nil, errRedisURL(err)
		}
		o.Password = c.Secrets.RedisPassword
		o.ContextTimeoutEnabled = true
		o.ReadBufferSize, o.WriteBufferSize = redisBuffer, redisBuffer
		o.PipelinePoolSize = cmp.Or(o.PipelinePoolSize, noPipelinePool)
		return redis.NewClient(o), nil
	case ModeCluster:
		o, err := redis.ParseClusterURL(c.RedisURL)
		if err != nil {
			return nil, errRedisURL(err)
		}
		o.Password = c.Secrets.RedisPassword
		o.ContextTimeoutEnabled = true
		o.ReadBufferSize, o.WriteBufferSize = redisBuffer, redisBuffer
		o.PipelinePoolSize = cmp.Or(o.PipelinePoolSize, noPipelinePool)
		return redis.NewClusterClient(o), nil
	case ModeSentinel:
		o, err := redis.ParseFailoverURL(c.RedisURL)
		if err != nil {
			return nil, errRedisURL(err)
		}
		o.Password = c.Secrets.RedisPassword
		o.ContextTimeoutEnabled = true
		o.ReadBufferSize, o.WriteBufferSize = redisBuffer, redisBuffer
		o.PipelinePoolSize = cmp.Or(o.PipelinePoolSize, noPipelinePool)
		if o.SentinelUsername != "" {
			o.SentinelPassword = c.Secrets.RedisPassword
		}
		return redis.NewFailoverClient(o), nil
	default:
		return nil, fmt.Errorf("redis mode %q is unknown", c.RedisMode)
	}
}

// checkRedisURL refuses what OpenRedis would, and a password in the URL: it would show in the process list's
// environment and in every dump of the configuration.
func (c Config) checkRedisURL() error {
	u, err := url.Parse(c.RedisURL)
	if err != nil {
		return errors.New("is not a URL")
	}
	_, inUser := u.User.Password()
	if inUser || u.Query().Has("password") || u.Query().Has("sentinel_password") {
		return errors.New("holds a password; put it into the file that REFUNDD_REDIS_PASSWORD_FILE names")
	}
	switch c.RedisMode {
	case ModeCluster:
		_, err = redis.ParseClusterURL(c.RedisURL)
	case ModeSentinel:
		o, failed := redis.ParseFailoverURL(c.RedisURL)
		if err = failed; err == nil && o.MasterName == "" {
			return errors.New("has no master_name, which REFUNDD_REDIS_MODE=sentinel needs")
		}
	default:
		_, err = redis.ParseURL(c.RedisURL)
	}
	if err != nil {
		return errRedisURL(err)
	}
	return nil
}

// errRedisURL keeps url.Parse from printing the whole URL.
func errRedisURL(err error) error {
	if _, ok := errors.AsType[*url.Error](err); ok {
		return errors.New("is not a URL")
	}
	return fmt.Errorf("cannot be used: %w", err)
}
