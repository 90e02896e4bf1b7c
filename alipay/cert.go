package alipay

import (
	"crypto/md5" //nolint:gosec // Alipay's serial numbers are MD5; they identify and prove nothing.
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// Certificates is what certificate mode needs, read from Alipay's three files by
// ParseCertificates. Nothing is ever downloaded: an answer under a certificate
// that is not here is believed if one of these keys verifies it (a renewed
// certificate keeps its key) and is unknown otherwise.
type Certificates struct {
	// AppSN and RootSN are sent with every call.
	AppSN, RootSN string
	// AlipaySNs are those of the pinned certificates, for messages only.
	AlipaySNs []string

	appKey     *rsa.PublicKey
	alipayKeys []*rsa.PublicKey
	app        *x509.Certificate
	alipay     []*x509.Certificate
	chain      []*x509.Certificate // everything in Alipay's file
	roots      []*x509.Certificate // those of the bundle that crypto/x509 can read
}

// ParseCertificates reads the app's certificate (the first of its file counts),
// Alipay's certificate or, for the days of a rotation, several, and the bundle
// of roots. Intermediates may stand behind the certificates, and comments between
// the roots; anything else in the files is an error that names its line. Only
// certificates that issue no others are pinned. They are believed because of where
// the files come from: dates and chains are not looked at, see ValidAt and Trusted.
func ParseCertificates(app, alipay, roots []byte) (*Certificates, error) {
	c := &Certificates{}
	appCerts, err := parseChain(app)
	if err != nil {
		return nil, fmt.Errorf("app certificate: %w", err)
	}
	c.app = appCerts[0]
	if c.appKey, err = rsaKeyOf(c.app); err != nil {
		return nil, fmt.Errorf("app certificate: %w", err)
	}
	if c.AppSN, err = certSN(c.app.Raw); err != nil {
		return nil, fmt.Errorf("app certificate: %w", err)
	}
	if c.RootSN, err = rootSN(roots); err != nil {
		return nil, fmt.Errorf("root certificates: %w", err)
	}
	blocks, err := certBlocks(roots, true)
	if err != nil {
		return nil, fmt.Errorf("root certificates: %w", err)
	}
	for _, block := range blocks {
		if root, err := x509.ParseCertificate(block.bytes); err == nil {
			c.roots = append(c.roots, root)
		}
	}
	if err := c.pin(alipay, appCerts); err != nil {
		return nil, fmt.Errorf("certificate of Alipay: %w", err)
	}
	return c, nil
}

// pin reads Alipay's file; others are what an authority in it may have issued.
func (c *Certificates) pin(file []byte, others []*x509.Certificate) (err error) {
	if c.chain, err = parseChain(file); err != nil {
		return err
	}
	for _, cert := range c.chain {
		if isAuthority(cert, slices.Concat(c.chain, others)) {
			continue
		}
		key, err := rsaKeyOf(cert)
		if err != nil {
			return err
		}
		if c.appKey != nil && key.Equal(c.appKey) {
			return errors.New("this is the app's own certificate")
		}
		sn, err := certSN(cert.Raw)
		if err != nil {
			return err
		}
		c.alipay, c.alipayKeys = append(c.alipay, cert), append(c.alipayKeys, key)
		c.AlipaySNs = append(c.AlipaySNs, sn)
	}
	if len(c.alipay) == 0 {
		return errors.New("only authorities in the file")
	}
	return nil
}

// ParseCertificateKeys returns the keys of the certificates in Alipay's file that
// ParseCertificates would pin.
func ParseCertificateKeys(file []byte) ([]*rsa.PublicKey, error) {
	var c Certificates
	if err := c.pin(file, nil); err != nil {
		return nil, fmt.Errorf("certificate of Alipay: %w", err)
	}
	return c.alipayKeys, nil
}

// Keys returns the public keys of Alipay's certificates, which verify answers
// and notifications.
func (c *Certificates) Keys() []*rsa.PublicKey { return slices.Clone(c.alipayKeys) }

// ValidAt says whether the app's certificate and at least one of Alipay's are
// within their dates. Alipay refuses calls under an expired app certificate.
func (c *Certificates) ValidAt(at time.Time) error {
	if err := within(c.app, at); err != nil {
		return fmt.Errorf("app certificate %s: %w", c.AppSN, err)
	}
	var errs []error
	for i, cert := range c.alipay {
		err := within(cert, at)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("certificate of Alipay %s: %w", c.AlipaySNs[i], err))
	}
	return errors.Join(errs...)
}

// NotAfter returns when the first of the app's and the last of Alipay's
// certificates runs out, whichever is earlier: the day before which files must
// be exchanged.
func (c *Certificates) NotAfter() time.Time {
	last := c.alipay[0].NotAfter
	for _, cert := range c.alipay[1:] {
		if cert.NotAfter.After(last) {
			last = cert.NotAfter
		}
	}
	if c.app.NotAfter.Before(last) {
		return c.app.NotAfter
	}
	return last
}

func within(cert *x509.Certificate, at time.Time) error {
	switch {
	case at.Before(cert.NotBefore):
		return fmt.Errorf("not valid before %s", cert.NotBefore.Format(time.RFC3339))
	case at.After(cert.NotAfter):
		return fmt.Errorf("expired on %s", cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}

func rsaKeyOf(cert *x509.Certificate) (*rsa.PublicKey, error) {
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("want RSA, its key is %T", cert.PublicKey)
	}
	return key, checkPublic(key)
}

// Trusted says whether each of Alipay's certificates leads to a root of the
// bundle, whatever the dates. It is advice: a file without its intermediate
// cannot be followed, and the files of Alipay's own sandbox lead to no root of
// the bundle that comes with them.
func (c *Certificates) Trusted() error {
	for i, cert := range c.alipay {
		if !leadsTo(cert, c.chain, c.roots) {
			return fmt.Errorf("certificate of Alipay %s: does not lead to a root of the root file", c.AlipaySNs[i])
		}
	}
	return nil
}

// isAuthority reports whether cert is there to issue others, and so signs no
// answer: by its own word, or because it issued another one that is known.
// Alipay's intermediates do not call themselves authorities.
func isAuthority(cert *x509.Certificate, known []*x509.Certificate) bool {
	if cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign != 0 {
		return true
	}
	return slices.ContainsFunc(known, func(other *x509.Certificate) bool { return !other.Equal(cert) && issued(cert, other) })
}

// issued compares names and checks the signature, and nothing of what parent may
// be used for: see isAuthority.
func issued(parent, child *x509.Certificate) bool {
	return string(parent.RawSubject) == string(child.RawIssuer) &&
		parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature) == nil
}

// leadsTo follows issuers from cert over chain to one of the roots.
func leadsTo(cert *x509.Certificate, chain, roots []*x509.Certificate) bool {
	for range len(chain) + 1 {
		if slices.ContainsFunc(roots, func(root *x509.Certificate) bool { return issued(root, cert) }) {
			return true
		}
		i := slices.IndexFunc(chain, func(parent *x509.Certificate) bool { return !parent.Equal(cert) && issued(parent, cert) })
		if i < 0 {
			return false
		}
		cert = chain[i]
	}
	return false
}

// parseChain reads a file of certificates and nothing else.
func parseChain(file []byte) ([]*x509.Certificate, error) {
	blocks, err := certBlocks(file, false)
	if err != nil {
		return nil, err
	}
	chain := make([]*x509.Certificate, 0, len(blocks))
	for i, block := range blocks {
		cert, err := x509.ParseCertificate(block.bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in the file, line %d: %w", i+1, block.line, err)
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// certBlocks returns the certificates of a PEM file; see PEMBlocks.
func certBlocks(file []byte, comments bool) ([]der, error) {
	parts, err := pemParts(file, comments)
	if err != nil {
		return nil, err
	}
	ders := make([]der, len(parts))
	for i, p := range parts {
		if p.kind != "CERTIFICATE" {
			return nil, fmt.Errorf("the file holds a %s, want certificates", strings.ToLower(p.kind))
		}
		ders[i] = der{p.line, p.bytes}
	}
	if len(ders) == 0 {
		return nil, errors.New("no PEM certificate in the file")
	}
	return ders, nil
}

// outerCertificate is as much of a certificate as its serial number needs.
// Alipay's bundle of roots holds an SM2 certificate, which crypto/x509 cannot
// parse; encoding/asn1 passes over what follows in each sequence.
type outerCertificate struct {
	TBS struct {
		Version   int `asn1:"optional,explicit,default:0,tag:0"`
		Serial    *big.Int
		Algorithm struct{ OID asn1.ObjectIdentifier }
		Issuer    []relativeNameSET
	}
	Algorithm struct{ OID asn1.ObjectIdentifier }
}

// relativeNameSET is one part of a name; encoding/asn1 knows a SET by the suffix
// of its type.
type relativeNameSET []attribute

type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// certSN is the certificate's number in Alipay's sense: the MD5 of its issuer,
// spelled as RFC 2253, and its decimal serial number.
func certSN(der []byte) (string, error) {
	cert, err := parseOuter(der)
	if err != nil {
		return "", err
	}
	return cert.sn(), nil
}

func parseOuter(der []byte) (*outerCertificate, error) {
	var cert outerCertificate
	if rest, err := asn1.Unmarshal(der, &cert); err != nil || len(rest) > 0 {
		return nil, errors.New("not a certificate")
	}
	return &cert, nil
}

func (c *outerCertificate) sn() string {
	sum := md5.Sum([]byte(issuerText(c.TBS.Issuer) + c.TBS.Serial.String())) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// rootSN joins the numbers of the roots in the order of the bundle. Only those
// signed with RSA count (OID 1.2.840.113549.1.1.x), whatever their own key is.
func rootSN(bundle []byte) (string, error) {
	blocks, err := certBlocks(bundle, true)
	if err != nil {
		return "", err
	}
	rsaSignatures := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1}
	var sns []string
	for i, block := range blocks {
		cert, err := parseOuter(block.bytes)
		if err != nil {
			return "", fmt.Errorf("certificate %d in the file, line %d: %w", i+1, block.line, err)
		}
		oid := cert.Algorithm.OID
		if len(oid) > len(rsaSignatures) && oid[:len(rsaSignatures)].Equal(rsaSignatures) {
			sns = append(sns, cert.sn())
		}
	}
	if len(sns) == 0 {
		return "", errors.New("no root with an RSA signature in the file")
	}
	return strings.Join(sns, "_"), nil
}

// issuerText spells a name as Java's X500Principal.getName does, because that is
// what Alipay compares with: most specific part first, in the order of the
// certificate. (pkix.Name.String sorts attributes into an order of its own.)
func issuerText(issuer []relativeNameSET) string {
	parts := make([]string, 0, len(issuer))
	for _, rdn := range slices.Backward(issuer) {
		attributes := make([]string, 0, len(rdn))
		for _, a := range rdn {
			attributes = append(attributes, a.text())
		}
		parts = append(parts, strings.Join(attributes, "+"))
	}
	return strings.Join(parts, ",")
}

func (a attribute) text() string {
	keyword := ""
	switch a.Type.String() {
	case "2.5.4.3":
		keyword = "CN"
	case "2.5.4.6":
		keyword = "C"
	case "2.5.4.7":
		keyword = "L"
	case "2.5.4.8":
		keyword = "ST"
	case "2.5.4.9":
		keyword = "STREET"
	case "2.5.4.10":
		keyword = "O"
	case "2.5.4.11":
		keyword = "OU"
	case "0.9.2342.19200300.100.1.25":
		keyword = "DC"
	case "0.9.2342.19200300.100.1.1":
		keyword = "UID"
	}
	value, ok := a.value()
	if keyword == "" || !ok {
		if keyword == "" {
			keyword = a.Type.String()
		}
		return keyword + "=#" + hex.EncodeToString(a.Value.FullBytes)
	}
	return keyword + "=" + escapeName(value)
}

// value decodes the string types that names use.
func (a attribute) value() (string, bool) {
	switch a.Value.Tag {
	case asn1.TagPrintableString, asn1.TagUTF8String, asn1.TagIA5String, asn1.TagGeneralString:
		return string(a.Value.Bytes), true
	case asn1.TagT61String:
		runes := make([]rune, len(a.Value.Bytes)) // Latin-1
		for i, b := range a.Value.Bytes {
			runes[i] = rune(b)
		}
		return string(runes), true
	case asn1.TagBMPString:
		if len(a.Value.Bytes)%2 != 0 {
			return "", false
		}
		units := make([]uint16, 0, len(a.Value.Bytes)/2)
		for i := 0; i < len(a.Value.Bytes); i += 2 {
			units = append(units, uint16(a.Value.Bytes[i])<<8|uint16(a.Value.Bytes[i+1]))
		}
		return string(utf16.Decode(units)), true
	default:
		return "", false
	}
}

// escapeName escapes as Java does, which is a little more than RFC 2253 asks.
func escapeName(s string) string {
	inner := strings.Trim(s, " ")
	lead := strings.Index(s, inner)
	var b strings.Builder
	for i, r := range s {
		outside := i < lead || i >= lead+len(inner)
		switch {
		case r == 0:
			b.WriteString(`\00`)
			continue
		case strings.ContainsRune(`,=+<>#;"\`, r), outside:
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
