package config

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// wantsTraces reports whether OpenTelemetry's variables switch traces on, which they do not by themselves:
// OTEL_TRACES_EXPORTER=otlp does. Its SDK would read over what it cannot use; here that is a problem like any other,
// but only where traces are wanted.
func wantsTraces(env map[string]string, p *problems) bool {
	const exporter = "OTEL_TRACES_EXPORTER"
	switch word := env[exporter]; {
	case word == "" || word == "none" || strings.EqualFold(env["OTEL_SDK_DISABLED"], "true"):
		return false
	case word != "otlp":
		p.add(exporter, "is %q, must be none or otlp", word)
		return false
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if word := env[name]; word != "" && word != "http/protobuf" {
			p.add(name, "is %q, must be http/protobuf", word)
		}
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		u, err := url.Parse(env[name])
		switch {
		case env[name] == "":
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			p.add(name, "is not a URL such as http://127.0.0.1:4318")
		case u.User != nil:
			p.add(name, "has a user; OTEL_EXPORTER_OTLP_HEADERS is the place for credentials")
		}
	}
	samplers := []string{
		"always_on", "always_off", "traceidratio",
		"parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio",
	}
	const sampler, share = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
	if word := env[sampler]; word != "" && !slices.Contains(samplers, strings.ToLower(word)) {
		p.add(sampler, "is %q, must be one of %s", word, strings.Join(samplers, ", "))
	}
	if text := env[share]; text != "" && strings.HasSuffix(strings.ToLower(env[sampler]), "ratio") {
		if part, err := strconv.ParseFloat(text, 64); err != nil || !(part >= 0 && part <= 1) {
			p.add(share, "is not a number from 0 to 1")
		}
	}
	return true
}
