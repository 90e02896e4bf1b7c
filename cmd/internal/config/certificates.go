package config

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"refundd/alipay"
)

// renewBefore is how long before certificates run out -check begins to warn.
const renewBefore = 30 * 24 * time.Hour

// certificateFile is one of the three files of certificate mode.
type certificateFile struct {
	variable, path string
	comments       bool // may stand between the certificates
	text           []byte
	certificates   []*x509.Certificate // those that crypto/x509 can read; Alipay's bundle of roots has others
	unreadable     int
}

// readCertificates fills c.Secrets.Certificates, if certificate mode is on and nothing is wrong with it.
//
// Expired certificates are refused: Alipay would refuse every call. One of Alipay's that leads to no root of the bundle is
// a warning only, since what is pinned is believed because it is in the file, and the files of Alipay's own sandbox do not
// fit together.
func (c *Config) readCertificates(p *problems) {
	app := &certificateFile{variable: "REFUNDD_ALIPAY_APP_CERT_FILE", path: c.AlipayAppCertFile}
	own := &certificateFile{variable: "REFUNDD_ALIPAY_CERT_FILE", path: c.AlipayCertFile}
	root := &certificateFile{variable: "REFUNDD_ALIPAY_ROOT_CERT_FILE", path: c.AlipayRootCertFile, comments: true}
	for _, f := range []*certificateFile{app, own, root} {
		if p.fine(f.variable) {
			p.file(f.variable, f.path, f.read)
		}
	}
	if !p.fine(app.variable, own.variable, root.variable) || app.path == "" {
		return
	}
	certificates, err := alipay.ParseCertificates(app.text, own.text, root.text)
	if err == nil {
		err = certificates.ValidAt(time.Now())
	}
	switch {
	case err != nil:
		p.add(app.variable, "with the two other files of certificate mode: %v", err)
		return
	case c.Secrets.PrivateKey != nil && !c.Secrets.PrivateKey.PublicKey.Equal(app.certificates[0].PublicKey):
		p.add(app.variable, "%q is the certificate of another key than that of REFUNDD_ALIPAY_PRIVATE_KEY_FILE", app.path)
		return
	}
	c.Secrets.Certificates = certificates
	c.contents[app.variable] = app.describe(certificates.AppSN)
	c.contents[own.variable] = own.describe(certificates.AlipaySNs...)
	c.contents[root.variable] = root.describe(certificates.RootSN)
}

// read accepts PEM certificates, and comments between roots, and nothing else, such as a private key.
func (f *certificateFile) read(text []byte) error {
	f.text = text
	blocks, err := alipay.PEMBlocks(text, f.comments)
	if err != nil {
		return err
	}
	for _, block := range blocks {
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("has a %s, want certificates", strings.ToLower(block.Type))
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			f.unreadable++
			continue
		}
		f.certificates = append(f.certificates, certificate)
	}
	if len(f.certificates) == 0 {
		return errors.New("has no PEM certificate")
	}
	return nil
}

// describe says what is in the file: the serial numbers as Alipay computes them, then every certificate.
func (f *certificateFile) describe(serials ...string) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "sn %s", strings.Join(serials, ", "))
	for _, certificate := range f.certificates {
		fmt.Fprintf(&b, "; %s until %s", certificate.Subject, certificate.NotAfter.UTC().Format(time.DateOnly))
	}
	if f.unreadable > 0 {
		fmt.Fprintf(&b, "; %d of another kind", f.unreadable)
	}
	return b.String()
}

// certificateWarnings says what will be wrong soon, or may be.
func (c Config) certificateWarnings() []string {
	certificates := c.Secrets.Certificates
	if certificates == nil {
		return nil
	}
	var list []string
	if end := certificates.NotAfter(); time.Until(end) < renewBefore {
		list = append(list, "warning: REFUNDD_ALIPAY_APP_CERT_FILE and REFUNDD_ALIPAY_CERT_FILE: the first of them runs out on "+
			end.UTC().Format(time.DateOnly))
	}
	if err := certificates.Trusted(); err != nil {
		list = append(list, fmt.Sprintf("warning: REFUNDD_ALIPAY_CERT_FILE: %v; it is used all the same, as in Alipay's sandbox, "+
			"so be sure where the file comes from", err))
	}
	return list
}
