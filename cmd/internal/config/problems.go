package config

import (
	"fmt"
	"slices"
	"strings"
)

// problems collects what is wrong, so that an operator reads all of it at once.
type problems struct {
	list []Problem
}

func (p *problems) add(variable, format string, args ...any) {
	p.list = append(p.list, Problem{Variable: variable, Text: fmt.Sprintf(format, args...)})
}

// fine reports whether none of the variables has a problem yet: a rule about several of them has no meaning while one
// could not be read, and one mistake is worth one message.
func (p *problems) fine(variables ...string) bool {
	return !slices.ContainsFunc(p.list, func(q Problem) bool { return slices.Contains(variables, q.Variable) })
}

// err returns nil or an *Error, its problems in the order of the variables, unknown variables last.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	fields := variableFields()
	position := func(q Problem) int {
		i := slices.IndexFunc(fields, func(f variableField) bool { return f.name == q.Variable })
		if i < 0 {
			return len(fields)
		}
		return i
	}
	slices.SortStableFunc(p.list, func(a, b Problem) int { return position(a) - position(b) })
	return &Error{Problems: p.list}
}

// addUnknown reports variables that look like misspelt ones. Others with our prefix are none of our business:
// Kubernetes sets REFUNDD_SERVICE_HOST, REFUNDD_PORT and more for a service named refundd, and the project's tests have
// REFUNDD_TEST_… and REFUNDD_VECTORS.
func (p *problems) addUnknown(env map[string]string) {
	fields := variableFields()
	var names []string
	for name := range env {
		foreign := name == "REFUNDD_VECTORS" || strings.HasPrefix(name, "REFUNDD_TEST_") || strings.HasPrefix(name, "OTEL_")
		known := slices.ContainsFunc(fields, func(f variableField) bool { return f.name == name })
		if !foreign && !known {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, f := range fields {
			if f.name == name+"_FILE" {
				p.add(name, "is unknown; the secret belongs in a file that %s names", f.name)
				break
			}
		}
		if !p.fine(name) {
			continue
		}
		if near, ok := nearest(name, fields); ok {
			p.add(name, "is unknown; did you mean %s?", near)
		}
	}
}

// nearest returns the variable whose name is fewest edits away from name, if a slip of the finger explains them: at
// most two, or a quarter of a longer name.
func nearest(name string, fields []variableField) (string, bool) {
	word := strings.TrimPrefix(name, "REFUNDD_")
	limit := max(2, len(word)/4)
	best := ""
	for _, f := range fields {
		if d := distance(word, strings.TrimPrefix(f.name, "REFUNDD_")); d <= limit {
			best, limit = f.name, d-1
		}
	}
	return best, best != ""
}

// distance is the Levenshtein distance of two texts of single-byte characters.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			above := row[j+1]
			row[j+1] = min(above+1, row[j]+1, diagonal+cost)
			diagonal = above
		}
	}
	return row[len(b)]
}
