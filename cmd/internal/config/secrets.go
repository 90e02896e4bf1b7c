package config

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"refundd/alipay"
	"refundd/alipay/openssl"
)

// Secrets is what the secret files contain. It prints and encodes as a placeholder, so that a Config can be logged
// by accident without harm; its fields must not be.
type Secrets struct {
	// PrivateKey is the app's; never nil after Load.
	PrivateKey *rsa.PrivateKey
	// Signer signs with PrivateKey outside of Go; nil where Go signs.
	Signer crypto.Signer
	// PublicKeys are Alipay's, at least one in key mode. None of them is the app's own.
	PublicKeys []*rsa.PublicKey
	// Certificates is nil in key mode. The app's belongs to PrivateKey and none was out of date when it was read.
	Certificates *alipay.Certificates
	// EncryptKey is empty when contents are not encrypted.
	EncryptKey []byte
	// Merchants is nil when there is no file of them.
	Merchants *Merchants
	// RedisPassword is empty when there is none.
	RedisPassword string
	// RocketMQSecretKey is empty when the broker has no ACL.
	RocketMQSecretKey string
}

const hidden = "[secrets]"

// Format writes a placeholder, whatever the verb.
func (Secrets) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText returns a placeholder.
func (Secrets) MarshalText() ([]byte, error) { return []byte(hidden), nil }

const maxFile = 64 << 10 // bytes; a file of keys or a password is far smaller

// readSecrets fills c.Secrets from the files. It reads only those whose variables have no problem yet.
func (c *Config) readSecrets(p *problems) {
	c.readKeys(p)
	c.readMerchants(p)
	c.readPasswords(p)
}

// readKeys reads what signs, verifies and encrypts.
func (c *Config) readKeys(p *problems) {
	if name := "REFUNDD_ALIPAY_PRIVATE_KEY_FILE"; p.fine(name) {
		p.file(name, c.AlipayPrivateKeyFile, func(text []byte) (err error) {
			c.Secrets.PrivateKey, err = alipay.ParsePrivateKey(text)
			return err
		})
	}
	c.loadSigner(p)
	if name := "REFUNDD_ALIPAY_PUBLIC_KEY_FILE"; p.fine(name) {
		p.file(name, c.AlipayPublicKeyFile, func(text []byte) (err error) {
			c.Secrets.PublicKeys, err = publicKeys(text, c.Secrets.PrivateKey)
			return err
		})
	}
	c.readCertificates(p)
	if name := "REFUNDD_ALIPAY_ENCRYPT_KEY_FILE"; p.fine(name) {
		p.file(name, c.AlipayEncryptKeyFile, func(text []byte) (err error) {
			c.Secrets.EncryptKey, err = alipay.ParseEncryptKey(text)
			return err
		})
	}
}

// loadSigner hands the key that was read to the system's libcrypto, if that is to sign.
func (c *Config) loadSigner(p *problems) {
	name := "REFUNDD_ALIPAY_SIGNER"
	if c.AlipaySigner != SignerOpenSSL || c.Secrets.PrivateKey == nil || !p.fine(name) {
		return
	}
	signer, err := openssl.New(c.Secrets.PrivateKey)
	if err != nil {
		p.add(name, "is %s, but: %v", SignerOpenSSL, err)
		return
	}
	c.Secrets.Signer, c.contents[name] = signer, signer.String()
}

func (c *Config) readPasswords(p *problems) {
	if name := "REFUNDD_REDIS_PASSWORD_FILE"; p.fine(name) {
		p.file(name, c.RedisPasswordFile, func(text []byte) (err error) {
			c.Secrets.RedisPassword, err = line(text)
			return err
		})
	}
	if name := "REFUNDD_ROCKETMQ_SECRET_KEY_FILE"; p.fine(name) {
		p.file(name, c.RocketMQSecretKeyFile, func(text []byte) (err error) {
			c.Secrets.RocketMQSecretKey, err = line(text)
			return err
		})
	}
}

// file hands the content of the file to use, unless path is empty, and adds what goes wrong. Errors name the path, never
// the content.
func (p *problems) file(name, path string, use func([]byte) error) {
	p.fileUpTo(maxFile, name, path, use)
}

func (p *problems) fileUpTo(limit int64, name, path string, use func([]byte) error) {
	if path == "" {
		return
	}
	text, err := readFile(path, limit)
	if err != nil {
		p.add(name, "%q cannot be read: %v", path, err)
		return
	}
	if err := use(text); err != nil {
		p.add(name, "%q: %v", path, err)
	}
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			return nil, e.Err // without the path, which the caller prints
		}
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, errors.New("no status")
	case info.IsDir():
		return nil, errors.New("it is a directory")
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, errors.New("reading stopped half way")
	case int64(len(text)) > limit:
		return nil, fmt.Errorf("it is larger than %d bytes", limit)
	case len(bytes.TrimSpace(text)) == 0:
		return nil, errors.New("it is empty")
	}
	return text, nil
}

// publicKeys refuses the app's own public key where Alipay's belongs: a common mix-up, since the app's is what one
// uploads, and one that would show only when the first answer fails to verify. own may be nil.
func publicKeys(text []byte, own *rsa.PrivateKey) ([]*rsa.PublicKey, error) {
	keys, err := alipay.ParsePublicKeys(text)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if own != nil && key.Equal(&own.PublicKey) {
			return nil, errors.New("has the app's own public key; it must be Alipay's, which the open platform shows in exchange")
		}
	}
	return keys, nil
}

// PasswordFile returns the one line of the file of a password or secret key, without the byte order mark, blanks and empty
// lines that editors add around it. Its errors name neither the file nor what is in it.
func PasswordFile(path string) (string, error) {
	text, err := readFile(path, maxFile)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	return line(text)
}

func line(text []byte) (string, error) {
	found := ""
	for i, line := range strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(text)), "\n") {
		line = strings.TrimFunc(line, func(r rune) bool { return r == bom || unicode.IsSpace(r) })
		switch {
		case line == "":
		case found != "":
			return "", fmt.Errorf("has more than one line: see line %d", i+1)
		case !utf8.ValidString(line) || strings.ContainsFunc(line, unicode.IsControl):
			return "", fmt.Errorf("line %d is not text in UTF-8", i+1)
		default:
			found = line
		}
	}
	if found == "" {
		return "", errors.New("it is empty")
	}
	return found, nil
}

const bom = '\ufeff' // the byte order mark
