package config

import "strings"

// Problem is one thing that is wrong with one variable.
type Problem struct {
	Variable string // its name, such as REFUNDD_KEEP
	Text     string // what is wrong and what would be right; never a secret
}

// Error is a configuration that cannot be used. Programs that meet it end with exit code 2.
type Error struct {
	Problems []Problem // at least one, in the order of the variables
}

// Error names every variable that is wrong, in one line.
func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Problems))
	for _, p := range e.Problems {
		lines = append(lines, p.Variable+": "+p.Text)
	}
	return "configuration: " + strings.Join(lines, "; ")
}
