package alipay

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// part is a PEM block of a file, or a line that stands outside of all blocks.
type part struct {
	line  int // where it begins, from 1
	kind  string
	bytes []byte // of a block
	text  string // of a line, not empty; then the rest is
}

// PEMBlocks returns the PEM blocks of a file and leaves nothing unread, as
// encoding/pem does with what it cannot make out: a block that is damaged or cut
// is an error that names its line and quotes nothing, and so is text around the
// blocks unless comments is set. Byte order marks, blanks, indentation and any
// line ends are taken. Where there is no block at all, none is returned.
func PEMBlocks(file []byte, comments bool) ([]*pem.Block, error) {
	parts, err := pemParts(file, comments)
	if err != nil {
		return nil, err
	}
	blocks := make([]*pem.Block, len(parts))
	for i, p := range parts {
		blocks[i] = &pem.Block{Type: p.kind, Bytes: p.bytes}
	}
	return blocks, nil
}

func pemParts(file []byte, comments bool) ([]part, error) {
	all, err := partsOf(file)
	if err != nil {
		return nil, err
	}
	isBlock := func(p part) bool { return p.kind != "" }
	if !slices.ContainsFunc(all, isBlock) {
		return nil, nil
	}
	for _, p := range all {
		if !isBlock(p) && (!comments || looksLikeKey(p.text)) {
			return nil, fmt.Errorf("line %d belongs to no PEM block", p.line)
		}
	}
	return slices.DeleteFunc(all, func(p part) bool { return !isBlock(p) }), nil
}

// looksLikeKey distinguishes base64 that has lost its armour from a comment.
func looksLikeKey(line string) bool {
	return len(line) >= 40 && !strings.ContainsFunc(line, func(r rune) bool { return r == ' ' || notBase64(r) })
}

// partsOf takes a file apart. Only the boundaries of blocks begin with dashes.
func partsOf(file []byte) ([]part, error) {
	var parts []part
	var open *part
	var body strings.Builder
	for i, line := range linesOf(file) {
		n := i + 1
		begin, isBegin := boundary(line, "BEGIN")
		end, isEnd := boundary(line, "END")
		switch {
		case line == "":
		case open == nil && isBegin:
			open = &part{line: n, kind: begin}
			body.Reset()
		case open == nil && !strings.HasPrefix(line, "#") && (strings.HasPrefix(line, "--") || strings.Contains(line, "-----")):
			return nil, damaged(n, "is no whole BEGIN line")
		case open == nil:
			parts = append(parts, part{line: n, text: line})
		case isEnd && end == open.kind:
			var err error
			if open.bytes, err = base64.StdEncoding.DecodeString(body.String()); err != nil || len(open.bytes) == 0 {
				return nil, damaged(open.line, "begins a block that is not whole base64")
			}
			parts, open = append(parts, *open), nil
		case strings.Contains(line, "--"):
			return nil, damaged(n, fmt.Sprintf("is not the END line of the block that begins on line %d", open.line))
		case body.Len() == 0 && strings.Contains(line, ": "): // a header
			if strings.Contains(line, "ENCRYPTED") || strings.HasPrefix(line, "DEK-Info") {
				return nil, errEncryptedKey
			}
		case strings.ContainsFunc(line, notBase64):
			return nil, damaged(n, "has a character that is not of base64")
		default:
			body.WriteString(strings.Join(strings.Fields(line), ""))
		}
	}
	if open != nil {
		return nil, damaged(open.line, "begins a block that does not end")
	}
	return parts, nil
}

var errEncryptedKey = errors.New("the key is encrypted; give it without a passphrase")

func damaged(line int, how string) error {
	return fmt.Errorf("a PEM block cannot be read: line %d %s", line, how)
}

// linesOf returns the lines of a file, without what surrounds their text. Files
// that were joined may have a byte order mark at the begin of any of them.
func linesOf(file []byte) []string {
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(file)), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimFunc(line, func(r rune) bool { return r == '\ufeff' || unicode.IsSpace(r) })
	}
	return lines
}

// boundary returns what begins or ends on this line.
func boundary(line, word string) (kind string, ok bool) {
	rest, ok := strings.CutPrefix(line, "-----"+word+" ")
	if !ok {
		return "", false
	}
	kind, ok = strings.CutSuffix(rest, "-----")
	return kind, ok && kind != "" && !strings.Contains(kind, "--")
}

func notBase64(r rune) bool {
	return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '+' && r != '/' && r != '=' && !unicode.IsSpace(r)
}

// der is a key or certificate without its armour.
type der struct {
	line  int
	bytes []byte
}

// derBlocks takes the armour off a key file: PEM blocks and keys in base64, one a
// line or wrapped, in any order. Nothing is left unread.
func derBlocks(file []byte) ([]der, error) {
	parts, err := partsOf(file)
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 {
		return nil, errors.New("the file is empty")
	}
	var ders []der
	bare := der{} // the key that is being put together
	text := ""
	for _, p := range parts {
		switch {
		case p.kind == "ENCRYPTED PRIVATE KEY":
			return nil, errEncryptedKey
		case p.kind != "" && text != "":
			return nil, leftOver(bare.line)
		case p.kind != "":
			ders = append(ders, der{p.line, p.bytes})
		}
		for field := range strings.FieldsSeq(p.text) {
			if text == "" {
				bare.line = p.line
			}
			text += field
			if bare.bytes, err = base64.StdEncoding.DecodeString(text); err == nil && wholeDER(bare.bytes) {
				ders, text = append(ders, bare), ""
			}
		}
	}
	switch {
	case text == "":
		return ders, nil
	case len(ders) == 0 && err == nil:
		return []der{bare}, nil // whoever parses it says what is wrong with it
	}
	return nil, leftOver(bare.line)
}

func leftOver(line int) error {
	return fmt.Errorf("line %d and what follows: neither PEM nor base64 of a whole key", line)
}

// wholeDER reports whether the length in the first DER header reaches exactly to
// the end: it distinguishes a key on one line from the first line of a wrapped key.
func wholeDER(der []byte) bool {
	if len(der) < 2 {
		return false
	}
	n, header := int(der[1]), 2
	if n >= 0x80 {
		size := n & 0x7f
		if size > 3 || len(der) < 2+size {
			return false
		}
		n = 0
		for _, b := range der[2 : 2+size] {
			n = n<<8 | int(b)
		}
		header += size
	}
	return der[0] == 0x30 && len(der) == header+n
}
