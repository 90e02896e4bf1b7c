package alipay

import (
	"crypto/md5"
	"encoding/hex"
	"testing"
)

// TestPublishedAnswer verifies an answer that Alipay itself signed, from the
// public fixtures of its Node client.
func TestPublishedAnswer(t *testing.T) {
	const key = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAk7LzhmMa2c4qQd4fqAqenfbuFoA7stPKvoS1LrZEsVnOOGUUjwoa1oU9xsSPjcOWhIerU/VAN4J95GIAXx59ipcleIyfLn2FhHXPgLJpvo+b2jJFyn/1/DbeJDh+0yDVAOf50Z7HhI0mdUhFMkXlT7BU0ZMtJf/TmISFEfhDU/w6qFd6D42L97byAkq0K6LroglSVF24GqJEa7hSeUIkZWj7RasykXrc2uVJ1+ejkXE0LyPxa2AHykMGbJLf5SiZvaNzUZgnKIR36mLOHpQ/2JCXxhXZYUWHzy0kMH54JcUEeksFWBYLGvLjV1phbcUIc3Q76tIuqApY6E222OoZZQIDAQAB"
	const sig = "F+LDzpTNiavn7xVZPGuPCSSVRSmWzJGgtuji6tVELGEaqMaNj0jRKXUEr5nloZJBBmwEnddOyCjjepMmrTKTvoOqQ0Efxpr/R1iEeHTHVbb/Q8TTh6Up5gHJDkILdaWS2q1cWeQ6VT+HQY9P3WRXS7uhILHuDODIhpAyCu5KhWGt0rMCIG+Im6NODJP2oohtSCtmTFXg58HH587Z2y2bdbjzOxLvzD9IrU1imghXQ2S/Q+wMIvRk9on6cWnBLkrNvJKapA2ReNGWOwyuASvB9zDVzhMPbR+3mfRGkVDxsq5HYLjBKGskJMXHw0HuugZij6ScRuaLPODhmHwr/pJ9yw=="
	keys, err := ParsePublicKeys([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	body := `{"alipay_x_response":{"code":"10000","msg":"Success","file_id":"CAxAToWB1JsAAAAAAAAAAAAADgSLAQBr"},"sign":"` + sig + `"}`
	e, err := openEnvelope("alipay.x", []byte(body), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.verify(keys); err != nil {
		t.Error(err)
	}
}

// TestPublishedCipherText opens a text of the same fixtures.
func TestPublishedCipherText(t *testing.T) {
	key, err := ParseEncryptKey([]byte("aYA0GP8JEW+D7/UFaskCWA==\n"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := decrypt(key, "4AOYHE0rpPnRnghunsGo+mY02DzANFLwNJJCiHfrNh2oaB2pn33PwOEOvH8mjhkE3Wh/jR+3jHM9nvoFvOsY/SqZbZzamRg9Eh3VkRqOhSM=")
	if want := `{"code":"10000","msg":"Success","aes_key":"cW8mcZgoMGUVp5g7uv7bHw=="}`; err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}

// TestPublishedSerialNumbers checks the formula against the numbers of Alipay's
// real authorities.
func TestPublishedSerialNumbers(t *testing.T) {
	for text, want := range map[string]string{
		"CN=Ant Financial Certification Authority Class 1 R1,OU=Certification Authority,O=Ant Financial,C=CN42701552708448241360226107228231049510":                "866efef280dec9137a87d047ac446315",
		"CN=Ant Financial Certification Authority Class 2 R1 test,OU=Certification Authority test,O=Ant Financial test,C=CN42717148703310028089966079920726168707": "b09baa7d1d5b198c713b230c5a6ec8e7",
		"CN=Ant Financial Certification Authority R1,OU=Certification Authority,O=Ant Financial,C=CN2292228364100439313":                                           "687b59193f3f462dd5336e5abf83c5d8",
	} {
		if sum := md5.Sum([]byte(text)); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s", text)
		}
	}
}
