package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// The jars of RocketMQ's name server, broker and tools with all that they
// need, and the Maven project that fetches them. jars.sha256 is the output of
// `sha256sum *.jar` over what pom.xml gives.
var (
	//go:embed pom.xml
	pom []byte
	//go:embed jars.sha256
	jarSums []byte
)

// jarEngine runs the parts as processes of this machine.
type jarEngine struct {
	folder string // for stores, config files and output; dropped by the caller
	jars   string
	set    settings

	mu      sync.Mutex
	running map[string]*process
}

func newJarEngine(ctx context.Context, folder string, set settings, log io.Writer) (*jarEngine, error) {
	jars, err := jarFolder()
	if err != nil {
		return nil, err
	}
	complete := checkJars(jars, jarSums) == nil
	if err := ensureTools(ctx, !complete, log); err != nil {
		return nil, err
	}
	if !complete {
		fmt.Fprintln(log, "stack: fetching RocketMQ "+rocketmqVersion+" with Maven, once, into "+jars)
		if err := fetchJars(ctx, folder, jars); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Join(folder, "home", "conf"), 0o700); err != nil {
		return nil, fmt.Errorf("prepare stack: %w", err)
	}
	return &jarEngine{folder: folder, jars: jars, set: set, running: map[string]*process{}}, nil
}

func (e *jarEngine) start(_ context.Context, part string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.running[part]; p != nil && p.exited() == nil {
		return fmt.Errorf("start %s: it is running", part)
	}
	p, err := e.launch(part)
	if err != nil {
		return err
	}
	e.running[part] = p
	return nil
}

func (e *jarEngine) launch(part string) (*process, error) {
	// Written anew each time: a broker writes its settings back into its file.
	conf := filepath.Join(e.folder, part+".conf")
	var text string
	switch part {
	case partNameServer:
		text = nameServerConf(e.set)
	case partBroker, partSecond:
		text = brokerConf(e.set, part, e.set.ports.address(partNameServer), filepath.Join(e.folder, "store-"+part))
	default:
		text = redisConf(e.set, "127.0.0.1", e.set.ports.redis, e.folder)
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil { //nolint:gosec // in the folder that we made
		return nil, fmt.Errorf("configure %s: %w", part, err)
	}
	if part == partRedis {
		return launch(e.folder, part, nil, "redis-server", conf)
	}
	arguments := []string{
		// One compiler stage and one collector thread: smaller and, in a short life, faster.
		"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
		// Neither logs in the home folder nor files in the shared temporary one.
		"-Duser.home=" + e.folder, "-Djava.io.tmpdir=" + e.folder, "-XX:-UsePerfData",
		"-cp", filepath.Join(e.jars, "*"),
	}
	if part == partNameServer {
		arguments = append(arguments, "-Xms32m", "-Xmx64m", "org.apache.rocketmq.namesrv.NamesrvStartup")
	} else {
		// Each of some thirty threads that store keeps a buffer of the longest message
		// for itself, 4 MB. Where they do not fit the broker answers "busy" for ever.
		arguments = append(arguments, "-Xms192m", "-Xmx256m", "-XX:MaxDirectMemorySize=512m", "org.apache.rocketmq.broker.BrokerStartup")
	}
	return launch(e.folder, part, []string{"ROCKETMQ_HOME=" + filepath.Join(e.folder, "home")}, "java", append(arguments, "-c", conf)...)
}

func (e *jarEngine) stop(_ context.Context, part string, signal syscall.Signal) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.running[part]; p != nil {
		p.stop(signal)
		delete(e.running, part)
	}
	return nil
}

func (e *jarEngine) failed(part string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.running[part]; p != nil {
		return p.exited()
	}
	return nil
}

func (e *jarEngine) output(part string) string {
	return tail(filepath.Join(e.folder, part+".log"), 20)
}

// close kills: a RocketMQ that is asked to stop takes 15 s.
func (e *jarEngine) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for part, p := range e.running {
		p.stop(syscall.SIGKILL)
		delete(e.running, part)
	}
	return nil
}

// jarFolder is where the jars are kept between runs.
func jarFolder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache folder: %w", err)
	}
	return filepath.Join(cache, "refundd-stack", "rocketmq-"+rocketmqVersion), nil
}

// fetchJars lets Maven fetch into the run's folder and moves the result into
// its place in one step, so that a broken or parallel fetch leaves nothing half.
func fetchJars(ctx context.Context, folder, jars string) error {
	project := filepath.Join(folder, "maven")
	if err := os.MkdirAll(project, 0o700); err != nil {
		return fmt.Errorf("fetch jars: %w", err)
	}
	if err := os.WriteFile(filepath.Join(project, "pom.xml"), pom, 0o600); err != nil {
		return fmt.Errorf("fetch jars: %w", err)
	}
	parent := filepath.Dir(jars)
	if err := os.MkdirAll(parent, 0o755); err != nil { //nolint:gosec // public jars in the user's cache
		return fmt.Errorf("fetch jars: %w", err)
	}
	fresh, err := os.MkdirTemp(parent, "fetch-")
	if err != nil {
		return fmt.Errorf("fetch jars: %w", err)
	}
	defer os.RemoveAll(fresh) //nolint:errcheck // gone already if all went well
	options := strings.TrimSpace(os.Getenv("MAVEN_OPTS") + " -XX:-UsePerfData")
	_, err = runTool(ctx, []string{"MAVEN_OPTS=" + options}, "mvn", "--batch-mode", "--quiet", "--file", filepath.Join(project, "pom.xml"),
		"org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+fresh)
	if err != nil {
		return fmt.Errorf("fetch jars: %w", err)
	}
	if err := checkJars(fresh, jarSums); err != nil {
		return fmt.Errorf("fetch jars: %w", err)
	}
	if err := os.RemoveAll(jars); err != nil {
		return fmt.Errorf("fetch jars: %w", err)
	}
	if err := os.Rename(fresh, jars); err != nil && checkJars(jars, jarSums) != nil {
		return fmt.Errorf("fetch jars: %w", err)
	}
	return nil
}

// checkJars compares the folder with a list in the form of sha256sum. A jar
// that is in the folder only is an error too: Java would load it.
func checkJars(folder string, sums []byte) error {
	want := map[string]string{}
	scanner := bufio.NewScanner(bytes.NewReader(sums))
	for scanner.Scan() {
		sum, name, ok := strings.Cut(scanner.Text(), "  ")
		if !ok {
			return fmt.Errorf("list of jars: line %q", scanner.Text())
		}
		want[name] = sum
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("check jars: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		sum, known := want[name]
		if !known {
			return fmt.Errorf("check jars: %s is not in the list", name)
		}
		got, err := sumOf(filepath.Join(folder, name))
		if err != nil {
			return fmt.Errorf("check jars: %w", err)
		}
		if got != sum {
			return fmt.Errorf("check jars: %s has checksum %s, want %s", name, got, sum)
		}
		delete(want, name)
	}
	for name := range want {
		return fmt.Errorf("check jars: %s is missing, with %d in all", name, len(want))
	}
	return nil
}

func sumOf(path string) (_ string, err error) {
	file, err := os.Open(path) //nolint:gosec // a name from the folder itself
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
