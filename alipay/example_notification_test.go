package alipay_test

import (
	"fmt"
	"io"
	"net/http"

	"refundd/alipay"
)

// A receiver of notifications: verify, keep, and only then say success.
func ExampleVerifier_ParseNotification() {
	keys, err := readFile("alipay_public_key.pem", alipay.ParsePublicKeys)
	if err != nil {
		fmt.Println(err)
		return
	}
	verifier, err := alipay.NewVerifier(alipay.VerifierConfig{
		Keys:      keys,
		AppID:     "2021000000000001",
		SellerIDs: []string{"2088000000000001"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	http.HandleFunc("POST /alipay/notify", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
		if err != nil {
			http.Error(w, "fail", http.StatusRequestEntityTooLarge)
			return
		}
		n, err := verifier.ParseNotification(body) // the bytes as posted, not r.Form
		if err != nil {
			http.Error(w, "fail", http.StatusBadRequest) // err says why; log it with nothing of the body
			return
		}
		if n.Class == alipay.NotificationRefund {
			fmt.Println("a hint: query the refund", n.OutRequestNo, "and keep what it says, then answer")
		}
		_, _ = io.WriteString(w, "success")
	})
}

// Certificate mode, with the three files that Alipay's console offers.
func ExampleParseCertificates() {
	appKey, err := readFile("app_private_key.pem", alipay.ParsePrivateKey)
	if err != nil {
		fmt.Println(err)
		return
	}
	var files [3][]byte
	for i, name := range []string{"appCertPublicKey.crt", "alipayCertPublicKey_RSA2.crt", "alipayRootCert.crt"} {
		if files[i], err = readFile(name, func(b []byte) ([]byte, error) { return b, nil }); err != nil {
			fmt.Println(err)
			return
		}
	}
	certificates, err := alipay.ParseCertificates(files[0], files[1], files[2])
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := alipay.New(alipay.Config{
		Gateway:      "https://openapi.alipay.com/gateway.do",
		V3URL:        "https://openapi.alipay.com", // trade refunds over V3
		AppID:        "2021000000000001",
		Signer:       appKey,
		Certificates: certificates, // checked against the key and the date
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()
}
