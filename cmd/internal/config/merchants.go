package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxMerchantsFile = 16 << 20 // bytes
	maxMerchantName  = 64       // characters, as in a command
	maxToken         = 128      // Alipay's have 40 characters
	maxSellerID      = 32       // Alipay's have 16 digits
	maxNamesShown    = 50
)

// Merchants are those who have authorised the app, by name. Nothing changes them, so any number of goroutines may ask; a
// nil one knows nobody. It prints as a placeholder, because it holds the tokens.
type Merchants struct {
	byName   map[string]merchant
	bySeller map[string]string // seller id to name
}

type merchant struct{ appAuthToken, sellerID string }

// ParseMerchants reads a JSON object: name to an object of app_auth_token and, where it is known, seller_id. Names have 1
// to 64 characters and no control characters, as in commands.
//
// No token and no seller id may stand twice, under two names: to Alipay that is one merchant, whose refund would be two
// different ones here, and nobody could say whose a notification is. To rename a merchant is to stop using the old name.
//
// A byte order mark is taken. Errors name the line and the merchant and quote nothing else of the file.
func ParseMerchants(text []byte) (*Merchants, error) {
	text = bytes.TrimPrefix(text, []byte(string(bom)))
	if !utf8.Valid(text) {
		return nil, errors.New("is not UTF-8")
	}
	m := &Merchants{byName: map[string]merchant{}, bySeller: map[string]string{}}
	byToken := map[string]string{}
	in := json.NewDecoder(bytes.NewReader(text))
	err := eachMember(in, func(name string) error {
		if err := checkMerchantName(name); err != nil {
			return err
		}
		if _, twice := m.byName[name]; twice {
			return fmt.Errorf("merchant %q stands twice", name)
		}
		one, err := parseMerchant(in)
		if err != nil {
			return fmt.Errorf("merchant %q: %w", name, err)
		}
		if other, taken := byToken[one.appAuthToken]; taken {
			return fmt.Errorf("merchants %q and %q have the same app_auth_token", other, name)
		}
		if other, taken := m.bySeller[one.sellerID]; taken {
			return fmt.Errorf("merchants %q and %q have the same seller_id", other, name)
		}
		m.byName[name], byToken[one.appAuthToken] = one, name
		if one.sellerID != "" {
			m.bySeller[one.sellerID] = name
		}
		return nil
	})
	if err == nil {
		if _, more := in.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("has more after its JSON object")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", 1+bytes.Count(text[:in.InputOffset()], []byte("\n")), err)
	}
	return m, nil
}

func parseMerchant(in *json.Decoder) (merchant, error) {
	var m merchant
	given := map[string]bool{}
	err := eachMember(in, func(name string) error {
		target, most := &m.appAuthToken, maxToken
		switch name {
		case "app_auth_token":
		case "seller_id":
			target, most = &m.sellerID, maxSellerID
		default:
			return errors.New("has a member other than app_auth_token and seller_id")
		}
		if given[name] {
			return fmt.Errorf("%s stands twice", name)
		}
		given[name] = true
		value, err := nextToken(in)
		if err != nil {
			return err
		}
		text, ok := value.(string)
		if !ok || text == "" || len(text) > most || !isPrintable(text) {
			return fmt.Errorf("%s is not a text of 1 to %d printable ASCII characters", name, most)
		}
		*target = text
		return nil
	})
	if err == nil && !given["app_auth_token"] {
		err = errors.New("app_auth_token is missing; the app's own refunds have no merchant")
	}
	return m, err
}

// eachMember reads an object. use is given each name and reads the value.
func eachMember(in *json.Decoder, use func(name string) error) error {
	begin, err := nextToken(in)
	if err != nil {
		return err
	}
	if begin != json.Delim('{') {
		return errors.New("is not a JSON object")
	}
	for in.More() {
		name, err := nextToken(in)
		if err != nil {
			return err
		}
		text, _ := name.(string) // the decoder accepts no other names
		if err := use(text); err != nil {
			return err
		}
	}
	_, err = nextToken(in)
	return err
}

// nextToken keeps what encoding/json says to itself, which might quote.
func nextToken(in *json.Decoder) (json.Token, error) {
	token, err := in.Token()
	if err != nil {
		return nil, fmt.Errorf("is not JSON after byte %d", in.InputOffset())
	}
	return token, nil
}

func checkMerchantName(name string) error {
	switch {
	case name == "":
		return errors.New("a merchant has an empty name")
	case utf8.RuneCountInString(name) > maxMerchantName:
		return fmt.Errorf("merchant %.*q… has a name of more than %d characters", maxMerchantName, name, maxMerchantName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("merchant %q has control characters in its name", name)
	}
	return nil
}

// Token returns the app_auth_token of the merchant with this name. It is a secret.
func (m *Merchants) Token(name string) (appAuthToken string, ok bool) {
	if m == nil {
		return "", false
	}
	one, ok := m.byName[name]
	return one.appAuthToken, ok
}

// Seller returns the seller id of a merchant; empty where none is known.
func (m *Merchants) Seller(name string) string {
	if m == nil {
		return ""
	}
	return m.byName[name].sellerID
}

// OfSeller returns the name of the merchant with this seller id.
func (m *Merchants) OfSeller(sellerID string) (name string, ok bool) {
	if m == nil {
		return "", false
	}
	name, ok = m.bySeller[sellerID]
	return name, ok
}

// Names returns the names of all, sorted.
func (m *Merchants) Names() []string {
	if m == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(m.byName))
}

// Len is how many merchants there are.
func (m *Merchants) Len() int {
	if m == nil {
		return 0
	}
	return len(m.byName)
}

// Format writes a placeholder, whatever the verb.
func (*Merchants) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// describe counts and names them for -check.
func (m *Merchants) describe() string {
	names := m.Names()
	text := fmt.Sprintf("%d merchants", len(names))
	for i, name := range names {
		if i == maxNamesShown {
			return fmt.Sprintf("%s and %d more", text, len(names)-i)
		}
		separator := ", "
		if i == 0 {
			separator = ": "
		}
		text += fmt.Sprintf("%s%q", separator, name)
	}
	return text
}

// readMerchants fills c.Secrets.Merchants.
func (c *Config) readMerchants(p *problems) {
	name := "REFUNDD_MERCHANTS_FILE"
	if !p.fine(name) {
		return
	}
	p.fileUpTo(maxMerchantsFile, name, c.MerchantsFile, func(text []byte) error {
		m, err := ParseMerchants(text)
		if err != nil {
			return err
		}
		if own, taken := m.OfSeller(c.AlipaySellerID); taken {
			return fmt.Errorf("merchant %q has the seller_id of the app itself, REFUNDD_ALIPAY_SELLER_ID", own)
		}
		c.Secrets.Merchants = m
		c.contents[name] = m.describe()
		return nil
	})
}
