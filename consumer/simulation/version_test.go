package simulation

import (
	"bytes"
	"slices"
	"strings"
)

// Two versions at once, as in a rolling update: half of the processes are of the
// version before. What the present one knows and that one does not is made here,
// at the seams: an optional member of a command, a note and a stored event in a
// later form. So all are the present code, and each reads only its own.

const (
	laterMember = `,"of_a_later_version":"x"}`
	laterEvent  = "\xff" // before an event that is stored in the later form
	presentNote = `{"v":1,`
	laterNote   = `{"v":2,`
)

// rolled ends it: every process is of the later version.
func (w *world) rolled() {
	w.rolling = false
	for _, p := range w.processes {
		p.older = false
	}
}

// body is a message's as the process sees it: to one of the version before, a
// command has a member that it does not know.
func (p *process) body(m *message) []byte {
	if !p.older || !m.cmd.later || m.cmd.number == "" {
		return m.body
	}
	p.w.happened("a member of a later version", m.role)
	return append(bytes.TrimSuffix(bytes.Clone(m.body), []byte("}")), laterMember...)
}

// ofLater is a body as everybody else has it.
func ofLater(body []byte) []byte {
	if bare, was := bytes.CutSuffix(body, []byte(laterMember)); was {
		return append(bytes.Clone(bare), '}')
	}
	return body
}

// written is what a process of the later version sends to Redis.
func (p *process) written(commands [][]any) [][]any {
	if !p.w.versions || p.older {
		return commands
	}
	for n, command := range commands {
		command = slices.Clone(command)
		commands[n] = command
		for i, arg := range command {
			text, ok := arg.([]byte)
			if !ok {
				continue
			}
			switch {
			case bytes.HasPrefix(text, []byte(presentNote)):
				command[i] = append([]byte(laterNote), text[len(presentNote):]...)
			case i == len(command)-1 && p.w.redis.Name(command) == "settle":
				command[i] = append([]byte(laterEvent), text...)
			}
		}
	}
	return commands
}

// read is what it reads of an answer.
func (p *process) read(replies []any) []any {
	if p.older {
		return replies
	}
	for _, reply := range replies {
		fields, _ := reply.([]any)
		for i, field := range fields {
			text, _ := field.(string)
			if note, later := strings.CutPrefix(text, laterNote); later {
				fields[i] = presentNote + note
			}
			if event, later := strings.CutPrefix(text, laterEvent); later {
				fields[i] = event
			}
		}
	}
	return replies
}
