package alipaytest

import (
	"bytes"
	"encoding/json"
	"fmt"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// answer is what Alipay says to one call, and how it comes out of the wire.
type answer struct {
	code, msg       string // code 10000 is success
	subCode, subMsg string
	fields          node
	signature       signature
	gbk             bool // signed and sent in GBK
	delivery        delivery
}

type signature int

const (
	goodSignature signature = iota
	noSignature
	badSignature
)

// delivery is what happens to the bytes of an answer.
type delivery int

const (
	delivered  delivery = iota
	lost                // the connection is held for a while, then closed
	reset               // the connection is reset
	silent              // nothing, until the client goes away
	badGateway          // an HTML page with HTTP 502
	cutBody             // half of the body, with its whole length announced
	cutJSON             // half of the body, as if that were all
	dripping            // a few bytes at a time
)

// node is a JSON object whose members keep their order.
type node []member

type member struct {
	name  string
	value any
}

// MarshalJSON writes the members in order, without escaping HTML.
func (n node) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	out.WriteByte('{')
	for i, m := range n {
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, "%q:", m.name)
		if err := encoder.Encode(m.value); err != nil {
			return nil, fmt.Errorf("encode %s: %w", m.name, err)
		}
		out.Truncate(out.Len() - 1) // the encoder's newline
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

func (n node) without(name string) node {
	var rest node
	for _, m := range n {
		if m.name != name {
			rest = append(rest, m)
		}
	}
	return rest
}

// with replaces the value of a member that is there.
func (n node) with(name string, value any) node {
	changed := append(node(nil), n...)
	for i := range changed {
		if changed[i].name == name {
			changed[i].value = value
		}
	}
	return changed
}

func (n node) value(name string) any {
	for _, m := range n {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

func success(fields node) answer {
	return answer{code: "10000", msg: "Success", fields: fields}
}

// business is a signed failure of the called interface.
func business(subCode, subMsg string) answer {
	return answer{code: "40004", msg: "Business Failed", subCode: subCode, subMsg: subMsg}
}

// gateway is a failure before the called interface was reached.
func gateway(code, subCode, subMsg string) answer {
	msg := map[string]string{
		"20000": "Service Currently Unavailable",
		"20001": "Insufficient Token Permissions",
		"40001": "Missing Required Arguments",
		"40002": "Invalid Arguments",
		"40003": "Conditions Not Satisfied",
		"40005": "App Call Limited",
		"40006": "Insufficient Permissions",
	}[code]
	return answer{code: code, msg: msg, subCode: subCode, subMsg: subMsg}
}

func (a answer) unsigned() answer {
	a.signature = noSignature
	return a
}

// inCharset is the text of an answer in the bytes that are signed and sent, and
// the name of their charset.
func (a answer) inCharset(text string) (raw, charset string, err error) {
	if !a.gbk {
		return text, "utf-8", nil
	}
	if raw, err = simplifiedchinese.GBK.NewEncoder().String(text); err != nil {
		return "", "", fmt.Errorf("encode in GBK: %w", err)
	}
	return raw, "GBK", nil
}

// v2Node is the answer as the value of the v2 root member.
func (a answer) v2Node() node {
	n := node{{"code", a.code}, {"msg", a.msg}}
	if a.subCode != "" {
		n = append(n, member{"sub_code", a.subCode}, member{"sub_msg", a.subMsg})
	}
	return append(n, a.fields...)
}
