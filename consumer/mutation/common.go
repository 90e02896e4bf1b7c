package main

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// chosen names, in the environment of a test, the change that it runs with.
const chosen = "REFUNDD_MUTANT"

// common makes one overlay of many changes, because building takes longer than
// asking: each changed function stands beside the right one, which hands over to it
// when the change is chosen. It numbers the changes that it took, and returns
// without those that do not compile. Scripts, and code outside of functions, are
// left as they are: number 0.
func (b bench) common(ctx context.Context, dir string, all []suspect) (living []suspect, overlay string, err error) {
	for n := range all {
		all[n].number = n + 1
	}
	for {
		replace := map[string]string{}
		broken := map[int]bool{}
		places := map[string][]place{}
		files := map[string]bool{}
		for _, s := range all {
			files[s.file] = files[s.file] || strings.HasSuffix(s.file, ".go")
		}
		for file, isGo := range files {
			if !isGo {
				continue
			}
			path := filepath.Join(b.root, file)
			text, in, err := withAll(path, file, all)
			if err != nil {
				return nil, "", err
			}
			replace[path] = filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
			places[filepath.Base(replace[path])] = in
			if err := os.WriteFile(replace[path], text, 0o600); err != nil {
				return nil, "", fmt.Errorf("plant many: %w", err)
			}
			choice := filepath.Join(filepath.Dir(path), "mutant_chosen.go")
			replace[choice] = filepath.Join(dir, filepath.Base(filepath.Dir(path))+"_chosen.go")
			text = fmt.Appendf(nil, "package %s\n\nimport (\n\t\"os\"\n\t\"strconv\"\n)\n\nvar mutantChosen, _ = strconv.Atoi(os.Getenv(%q))\n", filepath.Base(filepath.Dir(path)), chosen)
			if err := os.WriteFile(replace[choice], text, 0o600); err != nil {
				return nil, "", fmt.Errorf("plant many: %w", err)
			}
		}
		if overlay, err = writeOverlay(dir, replace); err != nil {
			return nil, "", err
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-gcflags=-e", "-overlay="+overlay, "./consumer", "./dedupe", "./producer") //nolint:gosec // our own overlay
		cmd.Dir = b.root
		out, err := cmd.CombinedOutput()
		if err == nil {
			break
		}
		for _, m := range regexp.MustCompile(`(?m)^(\S+\.go):(\d+):`).FindAllSubmatch(out, -1) {
			line, _ := strconv.Atoi(string(m[2]))
			for _, p := range places[filepath.Base(string(m[1]))] {
				if p.first <= line && line <= p.last {
					broken[p.number] = true
				}
			}
		}
		if len(broken) == 0 {
			return nil, "", fmt.Errorf("plant many: %w:\n%s", err, out)
		}
		var rest []suspect
		for _, s := range all {
			if !broken[s.number] {
				rest = append(rest, s)
			}
		}
		all = rest
	}
	for n := range all {
		if !all[n].inside {
			all[n].number = 0
		}
	}
	return all, overlay, nil
}

// place is where in the new text a changed function stands.
type place struct{ number, first, last int }

// withAll is the file with all its changes beside the right code.
func withAll(path, file string, all []suspect) ([]byte, []place, error) {
	src, err := os.ReadFile(path) //nolint:gosec // the module's own code
	if err != nil {
		return nil, nil, fmt.Errorf("plant many: %w", err)
	}
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, path, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, fmt.Errorf("plant many: %w", err)
	}
	at := func(p token.Pos) int { return set.Position(p).Offset }
	var head, tail strings.Builder // the right code; the changed functions
	var places []place
	copied := 0
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil || fn.Type.TypeParams != nil {
			continue
		}
		open, end := at(fn.Body.Lbrace), at(fn.Body.Rbrace)+1
		params, given := named(src, at, fn.Type.Params, "p")
		receiver, of, hands := "", "", ""
		if fn.Recv != nil {
			receiver, of = named(src, at, fn.Recv, "r")
			of += "."
		}
		for n, s := range all {
			if s.file != file || s.from <= open || s.to >= end {
				continue
			}
			all[n].inside = true
			name := fmt.Sprintf("%s_mutant%d", fn.Name.Name, s.number)
			back := "return "
			if fn.Type.Results == nil {
				back = ""
			}
			hands += fmt.Sprintf("if mutantChosen == %d { %s%s%s(%s)", s.number, back, of, name, given)
			if back == "" {
				hands += "; return"
			}
			hands += " }; "
			code := fmt.Sprintf("\nfunc %s %s%s%s%s%s\n", receiver, name, src[at(fn.Name.End()):open], src[open:s.from], s.text, src[s.to:end])
			first := strings.Count(tail.String(), "\n")
			tail.WriteString(code)
			places = append(places, place{s.number, first, strings.Count(tail.String(), "\n")})
		}
		if hands == "" {
			continue
		}
		head.Write(src[copied:at(fn.Pos())])
		_, _ = fmt.Fprintf(&head, "func %s %s(%s)%s{ %s", receiver, fn.Name.Name, params, src[at(fn.Type.Params.Closing)+1:open], hands)
		copied = open + 1
	}
	head.Write(src[copied:])
	lines := strings.Count(head.String(), "\n")
	for n := range places {
		places[n].first, places[n].last = places[n].first+lines, places[n].last+lines+1
	}
	return []byte(head.String() + tail.String()), places, nil
}

// named gives every parameter a name. It returns the list, a receiver's in
// parentheses, and the names as they are passed on.
func named(src []byte, at func(token.Pos) int, list *ast.FieldList, prefix string) (params, given string) {
	var all, names []string
	for _, field := range list.List {
		of := field.Names
		if len(of) == 0 {
			of = []*ast.Ident{{Name: "_"}}
		}
		for _, id := range of {
			name, typ := id.Name, string(src[at(field.Type.Pos()):at(field.Type.End())])
			if name == "_" {
				name = prefix + strconv.Itoa(len(names))
			}
			all = append(all, name+" "+typ)
			if strings.HasPrefix(typ, "...") {
				name += "..."
			}
			names = append(names, name)
		}
	}
	if params = strings.Join(all, ", "); prefix == "r" {
		params = "(" + params + ")"
	}
	return params, strings.Join(names, ", ")
}

// writeOverlay writes what go's -overlay takes.
func writeOverlay(dir string, replace map[string]string) (path string, err error) {
	text, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("write an overlay: %w", err)
	}
	path = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return "", fmt.Errorf("write an overlay: %w", err)
	}
	return path, nil
}
