package alipaytest

import (
	"crypto/md5" //nolint:gosec // Alipay defines its certificate numbers as MD5; nothing is protected by it
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// certificateYears is how long made certificates are valid.
const certificateYears = 20

// makeCertificates issues a root and the certificates of both keys. The root's
// private key is thrown away: nothing is ever issued again for these keys.
func (k *Keys) makeCertificates(now time.Time) error {
	root, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("make root key: %w", err)
	}
	ca := certificate("Local Alipay Root", now)
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	if k.RootCertPEM, err = issue(ca, ca, &root.PublicKey, root); err != nil {
		return fmt.Errorf("root certificate: %w", err)
	}
	if k.AppCertPEM, err = issue(certificate("Local App", now), ca, &k.AppPrivate.PublicKey, root); err != nil {
		return fmt.Errorf("app certificate: %w", err)
	}
	if k.AlipayCertPEM, err = issue(certificate("Local Alipay", now), ca, &k.AlipayPrivate.PublicKey, root); err != nil {
		return fmt.Errorf("alipay certificate: %w", err)
	}
	return nil
}

func certificate(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name, Organization: []string{"alipaysim"}, Country: []string{"CN"}},
		NotBefore: now.Add(-time.Hour),
		NotAfter:  now.AddDate(certificateYears, 0, 0),
		KeyUsage:  x509.KeyUsageDigitalSignature,
	}
}

// issue leaves the serial number to crypto/x509, which draws a random one.
func issue(template, parent *x509.Certificate, public *rsa.PublicKey, signer *rsa.PrivateKey) (string, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return "", fmt.Errorf("issue: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}

// rawCertificate is as much of a certificate as its number needs. Alipay's own
// root bundle holds SM2 certificates, which crypto/x509 cannot parse.
type rawCertificate struct {
	TBS struct {
		Version   int `asn1:"optional,explicit,default:0,tag:0"`
		Serial    *big.Int
		Signature pkix.AlgorithmIdentifier
		Issuer    pkix.RDNSequence
	}
}

// certSN is the number of the first certificate of a PEM file: the MD5, in hex,
// of its issuer in RFC 2253 form and its serial number in decimal.
func certSN(text []byte) (string, error) {
	certs, err := certificates(text)
	if err != nil {
		return "", err
	}
	return certs[0].sn(), nil
}

// rootSN joins the numbers of all certificates signed by RSA with "_".
func rootSN(text []byte) (string, error) {
	certs, err := certificates(text)
	if err != nil {
		return "", err
	}
	var numbers []string
	for _, cert := range certs {
		if strings.HasPrefix(cert.TBS.Signature.Algorithm.String(), "1.2.840.113549.1.1.") {
			numbers = append(numbers, cert.sn())
		}
	}
	if len(numbers) == 0 {
		return "", errors.New("no certificate is signed by RSA")
	}
	return strings.Join(numbers, "_"), nil
}

func certificates(text []byte) ([]rawCertificate, error) {
	var certs []rawCertificate
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		var cert rawCertificate
		if _, err := asn1.Unmarshal(block.Bytes, &cert); err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate")
	}
	return certs, nil
}

func (c rawCertificate) sn() string {
	sum := md5.Sum([]byte(c.TBS.Issuer.String() + c.TBS.Serial.String())) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}
