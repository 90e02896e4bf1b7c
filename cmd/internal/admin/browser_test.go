package admin_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"refundd/cmd/internal/admin"
)

// TestPageInABrowser looks at the page as a person has it before them: its style
// is applied although the policy allows no other, in light and dark, and nothing
// sticks out at the right, however narrow it is.
func TestPageInABrowser(t *testing.T) {
	browser := findBrowser(t)
	server := httptest.NewServer(admin.Handler(withPage()))
	defer server.Close()
	for _, view := range []struct {
		name, path string
		width      int
		dark       bool
	}{
		{"wide", "/", 1280, false},
		{"narrow", "/", 400, false},
		{"narrow and dark, a look-up", "/?number=R-1", 400, true},
	} {
		t.Run(view.name, func(t *testing.T) {
			shot := screenshot(t, browser, server.URL+view.path, view.width, view.dark)
			if shot.Bounds().Dx() != view.width {
				t.Fatalf("the picture is %d wide", shot.Bounds().Dx())
			}
			background := shot.At(0, 0)
			want := color.RGBA{0xff, 0xff, 0xff, 0xff}
			if view.dark {
				want = color.RGBA{0x0f, 0x14, 0x19, 0xff}
			}
			if color.RGBAModel.Convert(background) != want {
				t.Errorf("the background is %v, want %v: is the style applied?", background, want)
			}
			used := 0
			for y := range shot.Bounds().Dy() {
				for x := range view.width {
					if shot.At(x, y) == background {
						continue
					}
					used++
					if x < 8 || x >= view.width-8 {
						t.Fatalf("something is at %d,%d, in the margin", x, y)
					}
				}
			}
			if used < view.width*200 {
				t.Errorf("only %d points have another colour", used)
			}
		})
	}
}

func findBrowser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("no browser: put chromium (Debian's package of that name) into the PATH to have the page looked at")
	return ""
}

// screenshot is what the browser shows. With REFUNDD_TEST_SCREENSHOTS, a folder,
// a person may look as well.
func screenshot(t *testing.T, browser, url string, width int, dark bool) image.Image {
	t.Helper()
	profile, err := os.MkdirTemp("", "refundd-browser-") //nolint:usetesting // what the browser leaves behind may still be writing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(profile) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	scheme := 1
	if dark {
		scheme = 0
	}
	file := filepath.Join(profile, "page.png")
	command := exec.CommandContext(ctx, browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
		"--user-data-dir="+profile, fmt.Sprintf("--window-size=%d,2400", width),
		fmt.Sprintf("--blink-settings=preferredColorScheme=%d", scheme), "--screenshot="+file, url)
	output, err := command.CombinedOutput()
	picture, errRead := os.ReadFile(file)
	if errRead != nil {
		t.Fatalf("%v, %v: %s", err, errRead, output)
	}
	if folder := os.Getenv("REFUNDD_TEST_SCREENSHOTS"); folder != "" {
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("page-%d-%t.png", width, dark)), picture, 0o600); err != nil {
			t.Error(err)
		}
	}
	shot, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	return shot
}
