package main

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mutant is one change of the code that nobody thought about: a piece of a file is
// replaced by a text.
type mutant struct {
	file     string // from the module's root
	where    string // the function; empty outside of one, and in scripts
	line     int
	from, to int    // bytes of the file
	text     string // in their place
}

// apply returns the changed file.
func (m mutant) apply(src []byte) []byte {
	return slices.Concat(src[:m.from], []byte(m.text), src[m.to:])
}

// lines are the lines that the change touches, before and after it.
func (m mutant) lines(src []byte) (before, after string) {
	from := strings.LastIndexByte(string(src[:m.from]), '\n') + 1
	to := len(src)
	if n := strings.IndexByte(string(src[m.to:]), '\n'); n >= 0 {
		to = m.to + n
	}
	return string(src[from:to]), string(src[from:m.from]) + m.text + string(src[m.to:to])
}

// name is a change as EQUIVALENT.md names it, which survives that lines move.
func (m mutant) name(src []byte) string {
	before, after := m.lines(src)
	return strings.TrimSpace(m.file+" "+m.where) + ": `" + oneLine(before) + "` → `" + oneLine(after) + "`"
}

const mostShown = 160 // bytes of a name's halves

func oneLine(code string) string {
	line := strings.ReplaceAll(strings.Join(strings.Fields(code), " "), "`", "'")
	if len(line) > mostShown {
		line = strings.ToValidUTF8(line[:mostShown], "") + "…"
	}
	return line
}

// mutantsOf returns all changes of a file, each of which gives another text.
func mutantsOf(file string, src []byte) ([]mutant, error) {
	var all []mutant
	if strings.HasSuffix(file, ".lua") {
		all = luaMutants(src)
	} else {
		var err error
		if all, err = goMutants(file, src); err != nil {
			return nil, err
		}
	}
	seen := map[string]bool{}
	for n := range all {
		all[n].file = file
		all[n].line = 1 + strings.Count(string(src[:all[n].from]), "\n")
	}
	slices.SortStableFunc(all, func(a, b mutant) int { return cmp.Compare(a.from, b.from) })
	return slices.DeleteFunc(all, func(m mutant) bool {
		text := strings.Join(strings.Fields(string(m.apply(src))), " ")
		defer func() { seen[text] = true }()
		return seen[text]
	}), nil
}

// goWriter collects the changes of one Go file.
type goWriter struct {
	set   *token.FileSet
	src   []byte
	where string
	all   []mutant
}

func goMutants(file string, src []byte) ([]mutant, error) {
	w := goWriter{set: token.NewFileSet(), src: src}
	f, err := parser.ParseFile(w.set, file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range f.Decls {
		w.where = ""
		if fn, ok := d.(*ast.FuncDecl); ok {
			w.where = fn.Name.Name
		}
		ast.Inspect(d, w.visit)
	}
	return w.all, nil
}

func (w *goWriter) at(p token.Pos) int { return w.set.Position(p).Offset }

func (w *goWriter) replace(from, to token.Pos, text string) {
	w.all = append(w.all, mutant{where: w.where, from: w.at(from), to: w.at(to), text: text})
}

func (w *goWriter) remove(n ast.Node) { w.replace(n.Pos(), n.End(), "") }

func (w *goWriter) negate(e ast.Expr) {
	w.replace(e.Pos(), e.End(), "!("+string(w.src[w.at(e.Pos()):w.at(e.End())])+")")
}

// swapped are the operators that stand for one another.
var swapped = map[token.Token]string{ //nolint:gochecknoglobals // a table
	token.EQL: "!=", token.NEQ: "==", token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">",
	token.LAND: "||", token.LOR: "&&", token.ADD: "-", token.SUB: "+", token.MUL: "/", token.QUO: "*",
}

// visit writes down what can be changed at a node. Log lines are left alone, and so
// are branches that only log.
func (w *goWriter) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		if by, ok := swapped[n.Op]; ok {
			w.replace(n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), by)
		}
		if number, ok := n.X.(*ast.BasicLit); ok && n.Op == token.MUL { // of a unit
			w.number(number, 0, 2)
			ast.Inspect(n.Y, w.visit)
			return false
		}
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			w.replace(n.Pos(), n.Pos()+1, "")
		}
	case *ast.BasicLit:
		w.number(n, 0, 1, 2)
	case *ast.Ident:
		switch n.Name {
		case "true":
			w.replace(n.Pos(), n.End(), "false")
		case "false":
			w.replace(n.Pos(), n.End(), "true")
		}
	case *ast.CallExpr:
		return w.call(n)
	case *ast.IfStmt:
		return w.branch(n)
	case *ast.SwitchStmt:
		if n.Tag == nil {
			for _, c := range n.Body.List {
				for _, e := range c.(*ast.CaseClause).List {
					w.negate(e)
				}
			}
		}
	case *ast.CaseClause:
		w.empty(n.Body)
	case *ast.ExprStmt, *ast.IncDecStmt, *ast.SendStmt, *ast.DeferStmt, *ast.GoStmt, *ast.ReturnStmt, *ast.BranchStmt:
		w.remove(n)
	case *ast.AssignStmt:
		if !logs(n) && n.Tok != token.DEFINE {
			w.remove(n)
		}
	}
	return true
}

// number plants what is asked of: 0, 1 for one more, 2 for twice.
func (w *goWriter) number(n *ast.BasicLit, kinds ...int64) {
	value, err := strconv.ParseInt(n.Value, 0, 64)
	if n.Kind != token.INT || err != nil {
		return
	}
	for _, kind := range kinds {
		by := []int64{0, value + 1, 2 * value}[kind]
		if by != value {
			w.replace(n.Pos(), n.End(), strconv.FormatInt(by, 10))
		}
	}
}

func (w *goWriter) call(n *ast.CallExpr) bool {
	fn, ok := n.Fun.(*ast.Ident)
	switch {
	case logs(&ast.ExprStmt{X: n}):
		w.all = slices.DeleteFunc(w.all, func(m mutant) bool { return m.from == w.at(n.Pos()) && m.to == w.at(n.End()) })
		return false
	case ok && fn.Name == "min":
		w.replace(fn.Pos(), fn.End(), "max")
	case ok && fn.Name == "max":
		w.replace(fn.Pos(), fn.End(), "min")
	case ok && fn.Name == "make":
		return false // a length or a capacity
	}
	return true
}

func (w *goWriter) branch(n *ast.IfStmt) bool {
	if onlyLogs(n.Body.List) && n.Else == nil {
		if n.Init != nil {
			ast.Inspect(n.Init, w.visit)
		}
		return false
	}
	if b, ok := n.Cond.(*ast.BinaryExpr); !ok || b.Op != token.EQL && b.Op != token.NEQ {
		w.negate(n.Cond)
	}
	w.empty(n.Body.List)
	return true
}

func (w *goWriter) empty(body []ast.Stmt) {
	if len(body) > 0 && !onlyLogs(body) {
		w.replace(body[0].Pos(), body[len(body)-1].End(), "")
	}
}

func onlyLogs(body []ast.Stmt) bool {
	return len(body) > 0 && !slices.ContainsFunc(body, func(s ast.Stmt) bool { return !logs(s) })
}

// logs reports whether a statement does nothing but log: a chain of calls that
// begins at something called log or entry, or what adds a field to one.
func logs(s ast.Stmt) bool {
	var e ast.Expr
	switch s := s.(type) {
	case *ast.ExprStmt:
		e = s.X
	case *ast.AssignStmt:
		e = s.Rhs[0]
	default:
		return false
	}
	call, ok := e.(*ast.CallExpr)
	for ok {
		fn, isMethod := call.Fun.(*ast.SelectorExpr)
		if !isMethod {
			return false
		}
		switch of := fn.X.(type) {
		case *ast.Ident:
			return of.Name == "log" || of.Name == "entry"
		case *ast.SelectorExpr:
			return of.Sel.Name == "log"
		}
		call, ok = fn.X.(*ast.CallExpr)
	}
	return false
}

// luaMutants changes a script word by word, outside of comments.
func luaMutants(src []byte) []mutant {
	var all []mutant
	start := 0
	for line := range strings.Lines(string(src)) {
		code, _, _ := strings.Cut(strings.TrimRight(line, "\n"), "--")
		for _, r := range luaChanges {
			for _, at := range r.what.FindAllStringSubmatchIndex(code, -1) {
				for _, by := range r.by {
					text := r.what.ExpandString(nil, by, code, at)
					all = append(all, mutant{from: start + at[0], to: start + at[1], text: string(text)})
				}
			}
		}
		start += len(line)
	}
	return all
}

var luaChanges = []struct { //nolint:gochecknoglobals // a table
	what *regexp.Regexp
	by   []string
}{
	{regexp.MustCompile(` == `), []string{" ~= "}},
	{regexp.MustCompile(` ~= `), []string{" == "}},
	{regexp.MustCompile(` < `), []string{" <= "}},
	{regexp.MustCompile(` <= `), []string{" < "}},
	{regexp.MustCompile(` > `), []string{" >= "}},
	{regexp.MustCompile(` >= `), []string{" > "}},
	{regexp.MustCompile(` and `), []string{" or "}},
	{regexp.MustCompile(` or `), []string{" and "}},
	{regexp.MustCompile(`\bnot `), []string{""}},
	{regexp.MustCompile(` \+ `), []string{" - "}},
	{regexp.MustCompile(` - `), []string{" + "}},
	{regexp.MustCompile(`math\.max`), []string{"math.min"}},
	{regexp.MustCompile(`math\.min`), []string{"math.max"}},
	{regexp.MustCompile(`'0'`), []string{"'1'"}},
	{regexp.MustCompile(`'1'`), []string{"'0'"}},
	{regexp.MustCompile(` (\d+)\b`), []string{" (${1} + 1)", " (2 * ${1})"}},
	{regexp.MustCompile(` [1-9]\d*\b`), []string{" 0"}},
	{regexp.MustCompile(`if (.*) then`), []string{"if not (${1}) then"}},
	// a statement of one line
	{regexp.MustCompile(`^\s+redis\.call\(.*\)\s*$`), []string{""}},
	{regexp.MustCompile(`^\s*[a-z.]+(?:, [a-z.]+)* = [^{]*$`), []string{""}},
}
