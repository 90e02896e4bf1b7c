package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// chooseEngine takes Docker where its daemon and Compose answer, else the jars.
func chooseEngine(ctx context.Context, name, folder string, set settings, log io.Writer) (engine, error) {
	if name == "jars" {
		return newJarEngine(ctx, folder, set, log)
	}
	reason := dockerAnswers(ctx)
	if reason == nil {
		return newComposeEngine(ctx, folder, set, log)
	}
	if name == "docker" {
		return nil, reason
	}
	fmt.Fprintln(log, "stack: no Docker Compose here, using the jars")
	return newJarEngine(ctx, folder, set, log)
}

func dockerAnswers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if _, err := runTool(ctx, nil, "docker", "info"); err != nil {
		return err
	}
	_, err := runTool(ctx, nil, "docker", "compose", "version")
	return err
}

// tool is a program of the system that the jars need.
type tool struct {
	program string
	what    string   // for a person
	debian  []string // packages, the first that exists is taken
}

const leastJava = 11

func javaTool() tool {
	return tool{"java", fmt.Sprintf("a JDK of version %d or later", leastJava), []string{"default-jdk-headless", "openjdk-17-jre-headless"}}
}

func mavenTool() tool { return tool{"mvn", "Maven", []string{"maven"}} }

func redisTool() tool {
	return tool{"redis-server", "Redis 7 (redis-server)", []string{"redis-server"}}
}

// ensureTools installs what is missing where it may, else says what to install.
func ensureTools(ctx context.Context, withMaven bool, log io.Writer) error {
	missing := missingTools(ctx, withMaven)
	if len(missing) == 0 {
		return nil
	}
	var names []string
	for _, t := range missing {
		names = append(names, t.what)
	}
	what := strings.Join(names, " and ")
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("please install %s (or start Docker with its compose plugin), then run this again; as root on Debian this program installs it itself", what)
	}
	fmt.Fprintln(log, "stack: installing "+what)
	if err := install(ctx, missing); err != nil {
		return fmt.Errorf("install %s: %w", what, err)
	}
	if still := missingTools(ctx, withMaven); len(still) > 0 {
		return fmt.Errorf("install %s: %s is still not there", what, still[0].what)
	}
	return nil
}

func missingTools(ctx context.Context, withMaven bool) []tool {
	var missing []tool
	if !javaWorks(ctx) {
		missing = append(missing, javaTool())
	}
	others := []tool{redisTool()}
	if withMaven {
		others = append(others, mavenTool())
	}
	for _, t := range others {
		if _, err := exec.LookPath(t.program); err != nil {
			missing = append(missing, t)
		}
	}
	return missing
}

func javaWorks(ctx context.Context) bool {
	output, err := runTool(ctx, nil, "java", "-XX:-UsePerfData", "-version")
	return err == nil && javaMajor(output) >= leastJava
}

var javaVersion = regexp.MustCompile(`version "(\d+)(?:\.(\d+))?`)

// javaMajor reads what `java -version` prints: 17 for "17.0.15", 8 for "1.8.0_402",
// 0 for anything else.
func javaMajor(output string) int {
	match := javaVersion.FindStringSubmatch(output)
	if match == nil {
		return 0
	}
	major, err := strconv.Atoi(match[1])
	if err == nil && major == 1 {
		major, err = strconv.Atoi(match[2])
	}
	if err != nil {
		return 0
	}
	return major
}

// install is for root on Debian and its like. It keeps the packages from
// starting services of their own.
func install(ctx context.Context, missing []tool) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	undo, err := denyServices("/usr/sbin/policy-rc.d")
	if err != nil {
		return err
	}
	quiet := []string{"DEBIAN_FRONTEND=noninteractive"}
	_, err = runTool(ctx, quiet, "apt-get", "update", "-q")
	for _, t := range missing {
		if err != nil {
			break
		}
		for _, name := range t.debian {
			_, err = runTool(ctx, quiet, "apt-get", "install", "-q", "-y", "--no-install-recommends", name)
			if err == nil || ctx.Err() != nil {
				break
			}
		}
	}
	return errors.Join(err, undo())
}

// denyServices puts Debian's switch against service starts in place. Where the
// administrator has one, it is left as it is.
func denyServices(path string) (undo func() error, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755) //nolint:gosec // has to be executable
	if errors.Is(err, fs.ErrExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = file.WriteString("#!/bin/sh\nexit 101\n")
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return func() error { return os.Remove(path) }, nil
}
