package contract

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	root = "../../.." // of the repository
	// longest is how much one statement may say, in bytes, before it has to be cut: a whole paragraph with one test proves little.
	longest = 400
)

// statement is a piece of the contract with the tests that hold it.
type statement struct {
	line    int // where it begins in walk.txt
	text    string
	tests   []reference
	notes   []string // why there is no test, or what a test cannot see
	pending []string // what is not built yet
}

// reference names a test function, and perhaps a subtest of it.
type reference struct{ pkg, function, subtest string }

func read(tb testing.TB, path string) string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// walk reads walk.txt: the lines of a statement, then, each after a tab, "package TestFunction", "package TestFunction/subtest",
// "note: ..." or "pending: ...", and an empty line.
func walk(tb testing.TB) []statement {
	tb.Helper()
	var all []statement
	number := 1
	for block := range strings.SplitSeq(strings.TrimSuffix(read(tb, "testdata/walk.txt"), "\n"), "\n\n") {
		s := statement{line: number}
		for line := range strings.SplitSeq(block, "\n") {
			s.add(tb, line)
			number++
		}
		number++
		all = append(all, s)
	}
	return all
}

func (s *statement) add(tb testing.TB, line string) {
	tb.Helper()
	held, below := strings.CutPrefix(line, "\t")
	note, isNote := strings.CutPrefix(held, "note: ")
	pending, isPending := strings.CutPrefix(held, "pending: ")
	switch {
	case !below && len(s.tests)+len(s.notes)+len(s.pending) == 0:
		s.text += line + "\n"
	case !below:
		tb.Errorf("walk.txt:%d: %q follows without an empty line", s.line, line)
	case isNote:
		s.notes = append(s.notes, note)
	case isPending:
		s.pending = append(s.pending, pending)
	default:
		pkg, name, ok := strings.Cut(held, " ")
		if !ok {
			tb.Errorf("walk.txt:%d: %q is neither a package and its test, nor a note, nor pending", s.line, held)
		}
		function, subtest, _ := strings.Cut(name, "/")
		s.tests = append(s.tests, reference{pkg, function, subtest})
	}
}

// TestEveryLineHasItsTest: the statements, one after another, are the contract, and none goes without a test or a reason.
func TestEveryLineHasItsTest(t *testing.T) {
	all := walk(t)
	var said strings.Builder
	tested, pending := 0, 0
	for _, s := range all {
		said.WriteString(s.text)
		if len(s.tests)+len(s.notes)+len(s.pending) == 0 {
			t.Errorf("walk.txt:%d: nothing holds %q", s.line, s.text)
		}
		if len(s.text) > longest && !strings.HasPrefix(s.text, "|") {
			t.Errorf("walk.txt:%d: too much for one statement: %q", s.line, s.text)
		}
		if len(s.tests) > 0 {
			tested++
		}
		for _, what := range s.pending {
			pending++
			t.Logf("pending: %s", what)
		}
	}
	t.Logf("%d statements, %d held by tests, %d pending", len(all), tested, pending)
	got, want := strings.Fields(said.String()), strings.Fields(read(t, "testdata/CONTRACT.md"))
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("the walk leaves the contract at word %d:\nwalk     ... %s\ncontract ... %s", i,
				strings.Join(got[max(0, min(i, len(got))-5):min(len(got), i+5)], " "),
				strings.Join(want[max(0, min(i, len(want))-5):min(len(want), i+5)], " "))
		}
	}
}

// tests of one package: the functions with the files that they stand in, and the texts of those files.
type tests struct {
	functions map[string]string
	texts     map[string]map[string]bool // by file: every string constant
}

func readTests(tb testing.TB, pkg string) tests {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
	if err != nil {
		tb.Fatal(err)
	}
	found := tests{functions: map[string]string{}, texts: map[string]map[string]bool{}}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			tb.Fatal(err)
		}
		texts := map[string]bool{}
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && strings.HasPrefix(n.Name.Name, "Test") {
					found.functions[n.Name.Name] = file
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
					texts[text] = true
				}
			}
			return true
		})
		found.texts[file] = texts
	}
	return found
}

// TestEveryTestExists: a test that the walk names stands in its package, and a subtest's name in the test's file.
func TestEveryTestExists(t *testing.T) {
	packages := map[string]tests{}
	for _, s := range walk(t) {
		seen := map[reference]bool{}
		for _, r := range s.tests {
			if _, known := packages[r.pkg]; !known {
				packages[r.pkg] = readTests(t, r.pkg)
			}
			file, ok := packages[r.pkg].functions[r.function]
			switch {
			case !ok:
				t.Errorf("walk.txt:%d: %s has no %s", s.line, r.pkg, r.function)
			case r.subtest != "" && !packages[r.pkg].texts[file][r.subtest]:
				t.Errorf("walk.txt:%d: %s of %s has no subtest %q", s.line, r.function, r.pkg, r.subtest)
			case seen[r]:
				t.Errorf("walk.txt:%d: %s is named twice", s.line, r.function)
			}
			seen[r] = true
		}
	}
}
