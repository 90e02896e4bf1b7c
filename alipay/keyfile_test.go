package alipay

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// spoil changes one line of a file.
func spoil(t *testing.T, file []byte, line int, change func(string) string) []byte {
	t.Helper()
	lines := strings.Split(string(file), "\n")
	lines[line-1] = change(lines[line-1])
	return []byte(strings.Join(lines, "\n"))
}

// untidy are files that say the same as the tidy one.
func untidy(file []byte) map[string][]byte {
	bom := []byte("\ufeff")
	return map[string][]byte{
		"byte order mark":                 append(bytes.Clone(bom), file...),
		"CR LF":                           bytes.ReplaceAll(file, []byte("\n"), []byte("\r\n")),
		"CR":                              bytes.ReplaceAll(file, []byte("\n"), []byte("\r")),
		"indented":                        bytes.ReplaceAll(append([]byte("\n"), file...), []byte("\n"), []byte("\n \t")),
		"blanks behind":                   bytes.ReplaceAll(file, []byte("\n"), []byte(" \t\n")),
		"a blank before, no end of line":  append([]byte(" "), bytes.TrimRight(file, "\n")...),
		"no-break spaces and empty lines": append([]byte("\n\n\u00a0"), bytes.ReplaceAll(file, []byte("\n"), []byte("\n\n\u00a0"))...),
	}
}

// damage are what an editor, a copy or a transport does to a PEM file whose first
// block begins on line 1, and the line that is named for it.
func damage(t *testing.T, file []byte) map[string]struct {
	file []byte
	line string
} {
	t.Helper()
	type hurt = struct {
		file []byte
		line string
	}
	lines := strings.Split(string(file), "\n")
	end := 0
	for i, line := range lines {
		if strings.HasPrefix(line, "-----END") && end == 0 {
			end = i + 1
		}
	}
	return map[string]hurt{
		"one bad character":     {spoil(t, file, 3, func(s string) string { return "*" + s[1:] }), "line 3"},
		"one character less":    {spoil(t, file, 3, func(s string) string { return s[1:] }), "line 1"},
		"a colon in line 2":     {spoil(t, file, 2, func(s string) string { return ":" + s[1:] }), "line 2"},
		"short dash line":       {spoil(t, file, 1, func(s string) string { return s[1:] }), "line 1"},
		"short end line":        {spoil(t, file, end, func(s string) string { return s[:len(s)-1] }), "line"},
		"begin line with text":  {spoil(t, file, 1, func(s string) string { return "x" + s }), "line 1"},
		"no begin line":         {spoil(t, file, 1, func(string) string { return "" }), "line"},
		"no end line":           {spoil(t, file, end, func(string) string { return "" }), "line"},
		"end line of another":   {spoil(t, file, end, func(s string) string { return strings.Replace(s, "END ", "END X", 1) }), "line"},
		"no armour":             {spoil(t, spoil(t, file, 1, func(string) string { return "" }), end, func(string) string { return "" }), "line 2"},
		"cut":                   {[]byte(strings.Join(lines[:len(lines)-4], "\n")), "line"},
		"lines joined":          {bytes.Replace(file, []byte("-----\n-----BEGIN"), []byte("----------BEGIN"), 1), "line"},
		"typographic dashes":    {spoil(t, file, 1, func(s string) string { return strings.ReplaceAll(s, "-----", "—————") }), "line"},
		"text in front":         {append([]byte("the key of today\n"), file...), "line 1"},
		"text behind":           {append(bytes.Clone(file), "the key of today\n"...), "line"},
		"a comment within":      {spoil(t, file, 2, func(s string) string { return "# x\n" + s }), "line 2"},
		"half a key behind":     {append(bytes.Clone(file), lines[2]...), "line"},
		"a key on a blank line": {append([]byte(lines[1]+"\n"), file...), "line 1"},
	}
}

// named is an error that names a line and quotes nothing.
func named(t *testing.T, err error, line string, secrets ...string) {
	t.Helper()
	if err == nil || !regexp.MustCompile(line+`\b`).MatchString(err.Error()) {
		t.Errorf("error is %v, want one that names %s", err, line)
		return
	}
	for _, secret := range secrets {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("error quotes the file: %v", err)
		}
	}
}

// TestCertificateFilesLoseNothing: the intermediate is never pinned because the
// leaf before it could not be read, and no root is left out of the root number.
func TestCertificateFilesLoseNothing(t *testing.T) {
	app, chain, roots := readVectorFile(t, "keys/app_chain.pem"), readVectorFile(t, "keys/alipay_chain.pem"), readVectorFile(t, "keys/root_bundle.pem")
	want := testCertificates(t)
	same := func(t *testing.T, app, chain, roots []byte) {
		t.Helper()
		c, err := ParseCertificates(app, chain, roots)
		if err != nil {
			t.Fatal(err)
		}
		if c.AppSN != want.AppSN || c.RootSN != want.RootSN || len(c.alipayKeys) != 1 || !c.alipayKeys[0].Equal(want.alipayKeys[0]) {
			t.Errorf("other certificates: %+v", c.AlipaySNs)
		}
	}
	for name := range untidy(chain) {
		t.Run(name, func(t *testing.T) { same(t, untidy(app)[name], untidy(chain)[name], untidy(roots)[name]) })
	}
	t.Run("joined with their marks", func(t *testing.T) {
		leaf, intermediate := readVectorFile(t, "keys/alipay_leaf.pem"), readVectorFile(t, "keys/intermediate.pem")
		same(t, app, bytes.Join([][]byte{{}, intermediate, leaf}, []byte("\ufeff")), roots)
	})
	for name, hurt := range damage(t, chain) {
		t.Run(name, func(t *testing.T) {
			for what, files := range map[string][3][]byte{
				"app":    {damage(t, app)[name].file, chain, roots},
				"alipay": {app, hurt.file, roots},
				"roots":  {app, chain, damage(t, roots)[name].file},
			} {
				_, err := ParseCertificates(files[0], files[1], files[2])
				if what == "roots" && strings.HasPrefix(name, "text ") {
					if err != nil {
						t.Errorf("a comment between roots: %v", err)
					}
					continue
				}
				named(t, err, hurt.line, strings.Split(string(chain), "\n")[2])
			}
		})
	}
}

func TestAuthoritiesAreNeverPinned(t *testing.T) {
	app, roots := readVectorFile(t, "keys/app_leaf.pem"), readVectorFile(t, "keys/root_bundle.pem")
	for _, name := range []string{"keys/intermediate.pem", "keys/root_rsa_a.pem"} {
		if _, err := ParseCertificates(app, readVectorFile(t, name), roots); err == nil || !strings.Contains(err.Error(), "only authorities") {
			t.Errorf("%s: %v", name, err)
		}
		if keys, err := ParseCertificateKeys(readVectorFile(t, name)); err == nil {
			t.Errorf("%s: %d keys", name, len(keys))
		}
	}
	keys, err := ParseCertificateKeys(readVectorFile(t, "keys/alipay_chain.pem"))
	if err != nil || len(keys) != 1 || !keys[0].Equal(testCertificates(t).alipayKeys[0]) {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

// TestPublicKeyFilesLoseNothing: a rotation puts the new key behind the old one,
// in whatever form each of them came.
func TestPublicKeyFilesLoseNothing(t *testing.T) {
	first, second := "keys/alipay_public", "keys/stranger_public"
	one, two := publicKeys(t, first+".pem")[0], publicKeys(t, second+".pem")[0]
	forms := func(name string) map[string][]byte {
		bare := readVectorFile(t, name+".txt")
		return map[string][]byte{"PEM": readVectorFile(t, name+".pem"), "one line": append(bytes.TrimSpace(bare), '\n'), "wrapped": append(wrap(bare), '\n')}
	}
	for a, before := range forms(first) {
		for b, after := range forms(second) {
			tidy := append(bytes.Clone(before), after...)
			files := untidy(tidy)
			files["tidy"] = tidy
			for how, file := range files {
				keys, err := ParsePublicKeys(file)
				if err != nil || len(keys) != 2 || !keys[0].Equal(one) || !keys[1].Equal(two) {
					t.Errorf("%s, then %s, %s: %d keys, %v", a, b, how, len(keys), err)
				}
			}
			for _, rest := range []string{"# the new one", "MIIB", "-----BEGIN PUBLIC KEY-----", "----"} {
				_, err := ParsePublicKeys(append(bytes.Clone(tidy), rest...))
				named(t, err, "line")
				_, err = ParsePublicKeys(append([]byte(rest+"\n"), tidy...))
				named(t, err, "line")
			}
			_, err := ParsePublicKeys(append(bytes.Clone(before), after[:len(after)-8]...))
			named(t, err, "line")
		}
	}
	private := readVectorFile(t, "keys/app_private_pkcs8.pem")
	for name, hurt := range damage(t, private) {
		if name == "no armour" || name == "lines joined" { // a form of its own, and there is one block
			continue
		}
		t.Run(name, func(t *testing.T) {
			_, err := ParsePrivateKey(hurt.file)
			named(t, err, hurt.line, strings.Split(string(private), "\n")[2])
		})
	}
}

func TestEncryptKeyFile(t *testing.T) {
	file := readVectorFile(t, "keys/aes_key.txt")
	want := aesKey(t, "keys/aes_key.txt")
	for name, text := range untidy(append(bytes.TrimSpace(file), '\n')) {
		if key, err := ParseEncryptKey(text); err != nil || !bytes.Equal(key, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for text, line := range map[string]string{
		"# key\n" + string(file):                           "line 1",
		string(file) + "\n" + string(file):                 "line",
		"AAAAAAAAAAAAAAAAAAAAAA==\nAAAAAAAAAAAAAAAAAAAA\n": "line 2",
		"AAAAAAAAAAAAAAAA\nAAAAAAAA\n":                     "line 2", // 12 and 6 bytes, 18 together
	} {
		_, err := ParseEncryptKey([]byte(text))
		named(t, err, line, strings.TrimSpace(string(file)))
	}
}
