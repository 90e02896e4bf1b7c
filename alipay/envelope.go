package alipay

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
)

// Why an answer proves nothing. They arrive wrapped in an *Error; a refusal
// that came without a signature carries ErrUnsigned and still its codes.
var (
	// ErrMalformed: the body is not one JSON object with exactly one answer to
	// this method, or a member that proves something cannot be read.
	ErrMalformed = errors.New("malformed answer")
	// ErrUnsigned: the answer has no signature.
	ErrUnsigned = errors.New("answer is not signed")
	// ErrBadSignature: none of the configured keys verifies the signature.
	ErrBadSignature = errors.New("signature of the answer does not verify")
	// ErrTooLarge: the body is longer than 1 MiB.
	ErrTooLarge = errors.New("answer is too large")
	// ErrStatus: the HTTP status is not the one of an answer.
	ErrStatus = errors.New("HTTP status of no answer")
)

// envelope is a v2 answer taken apart, nothing decoded yet:
// {"<method>_response": node, "sign": "..."}.
type envelope struct {
	root string // name of the member that carries the answer
	own  bool   // the root is the method's own, which alone carries successes
	node []byte // its value exactly as received, which is what is signed
	gb   bool   // the body is in GB18030
	sign string // base64; empty if absent
	// certSN is Alipay's word for the certificate it signed with. It is not
	// signed, chooses no key, and is good for a message only.
	certSN string
}

// The roots that carry refusals whatever the method was.
const (
	rootError = "error_response"
	rootNull  = "null_response"
)

func rootOf(method string) string {
	return strings.ReplaceAll(method, ".", "_") + "_response"
}

// openEnvelope finds the answer to method in a body. Only members of the top
// level count, by their exact names, and a root or sign that stands twice makes
// the body malformed: otherwise one could be verified and the other believed.
// With encrypted, the node may be a JSON string, which is the cipher text.
func openEnvelope(method string, body []byte, encrypted bool) (envelope, error) {
	gb, err := checkCharset(body)
	if err != nil {
		return envelope{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	e := envelope{gb: gb}
	var sig []byte
	want := rootOf(method)
	err = (&scanner{data: body, gb: gb}).object(func(name, value []byte) error {
		switch n := string(name); n {
		case want, rootError, rootNull:
			if e.root != "" {
				return errors.New("more than one answer")
			}
			e.root, e.own, e.node = n, n == want, value
		case "sign":
			if sig != nil {
				return errors.New("more than one sign")
			}
			sig = value
		case "alipay_cert_sn":
			e.certSN, _ = scalar(value)
		}
		return nil
	})
	if err != nil {
		return envelope{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if e.root == "" {
		return envelope{}, fmt.Errorf("%w: no answer to this method", ErrMalformed)
	}
	if c := e.node[0]; c != '{' && (c != '"' || !encrypted) {
		return envelope{}, fmt.Errorf("%w: the answer is not an object", ErrMalformed)
	}
	switch {
	case sig == nil || string(sig) == "null":
	case sig[0] == '"':
		t, err := text(sig)
		if err != nil {
			return envelope{}, fmt.Errorf("%w: sign", ErrMalformed)
		}
		e.sign = string(t)
	default:
		return envelope{}, fmt.Errorf("%w: sign is not a string", ErrMalformed)
	}
	return e, nil
}

// verify checks the signature over the node's bytes. Some of Alipay's signers
// saw the text before slashes were escaped, so a node with `\/` has a second
// chance without the backslashes, as in the official client; the decoded values
// are the same either way.
func (e *envelope) verify(keys []*rsa.PublicKey) error {
	if e.sign == "" {
		return ErrUnsigned
	}
	if verified(keys, e.node, e.sign) {
		return nil
	}
	if bytes.Contains(e.node, []byte(`\/`)) && verified(keys, unescapeSlashes(e.node, e.gb), e.sign) {
		return nil
	}
	return ErrBadSignature
}

// plain returns the node as a JSON object in UTF-8, decrypted if it is cipher
// text. It is asked after verify: decrypting first would hand unproven bytes to
// the padding check.
func (e *envelope) plain(aesKey []byte) ([]byte, error) {
	node := e.node
	if node[0] != '{' {
		cipherText, err := text(node)
		if err != nil {
			return nil, fmt.Errorf("%w: cipher text", ErrMalformed)
		}
		if node, err = decrypt(aesKey, string(cipherText)); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	node, err := utf8Of(node)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return node, nil
}
