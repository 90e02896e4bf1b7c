// Package build says what this program was built from.
package build

import (
	"runtime/debug"
	"strings"
)

// Version is the module's version and, where it is known, the commit: "(devel) 3f9c…". It is "unknown" in a program
// without build information.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version, revision := info.Main.Version, ""
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return strings.TrimSpace(version + " " + revision)
}
