package alipay

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// vectorFolder is testdata/vectors, or the folder that REFUNDD_VECTORS names: a
// folder of the same format, keys and all, so that anyone can bring more.
func vectorFolder() string {
	if dir := os.Getenv("REFUNDD_VECTORS"); dir != "" {
		return dir
	}
	return filepath.Join("testdata", "vectors")
}

func readVectors[T any](t testing.TB, name string) []T {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(vectorFolder(), name))
	if err != nil {
		t.Fatal(err)
	}
	var rows []T
	if err := json.Unmarshal(raw, &rows); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(rows) == 0 {
		t.Fatalf("%s has no rows", name)
	}
	return rows
}

func readVectorFile(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(vectorFolder(), name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func privateKey(t testing.TB, name string) *rsa.PrivateKey {
	t.Helper()
	key, err := ParsePrivateKey(readVectorFile(t, name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return key
}

func publicKeys(t testing.TB, name string) []*rsa.PublicKey {
	t.Helper()
	keys, err := ParsePublicKeys(readVectorFile(t, name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return keys
}

func aesKey(t testing.TB, name string) []byte {
	t.Helper()
	key, err := ParseEncryptKey(readVectorFile(t, name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return key
}

func TestVectorsRequestSign(t *testing.T) {
	type row struct {
		Name           string
		Why            string
		PrivateKeyFile string `json:"private_key_file"`
		Params         map[string]string
		BizPlain       string `json:"biz_plain"`
		AESKeyFile     string `json:"aes_key_file"`
		Expected       struct {
			StringToSign string `json:"string_to_sign"`
			Sign         string
		}
	}
	for _, r := range readVectors[row](t, "v2-request-sign.json") {
		t.Run(r.Name, func(t *testing.T) {
			if r.AESKeyFile != "" {
				got, err := encrypt(aesKey(t, r.AESKeyFile), []byte(r.BizPlain))
				if err != nil || got != r.Params["biz_content"] {
					t.Errorf("%s: cipher text %q, %v", r.Why, got, err)
				}
			}
			var params []param
			for k, v := range r.Params {
				params = append(params, param{k, v})
			}
			text := signText(params)
			if string(text) != r.Expected.StringToSign {
				t.Errorf("%s:\n got %s\nwant %s", r.Why, text, r.Expected.StringToSign)
			}
			sig, err := sign(privateKey(t, r.PrivateKeyFile), text)
			if err != nil || sig != r.Expected.Sign {
				t.Errorf("%s: sign %q, %v", r.Why, sig, err)
			}
		})
	}
}

func TestVectorsAES(t *testing.T) {
	type row struct {
		Name, Why, Direction string
		KeyFile              string `json:"key_file"`
		Plain, Cipher        string
		Expected             struct {
			Plain, Cipher string
			Error         bool
		}
	}
	for _, r := range readVectors[row](t, "aes.json") {
		t.Run(r.Name, func(t *testing.T) {
			key := aesKey(t, r.KeyFile)
			if r.Direction == "encrypt" {
				got, err := encrypt(key, []byte(r.Plain))
				if err != nil || got != r.Expected.Cipher {
					t.Errorf("%s: %q, %v", r.Why, got, err)
				}
				return
			}
			got, err := decrypt(key, r.Cipher)
			if (err != nil) != r.Expected.Error || string(got) != r.Expected.Plain {
				t.Errorf("%s: %q, %v", r.Why, got, err)
			}
		})
	}
}

func TestVectorsAmounts(t *testing.T) {
	type row struct {
		Name, Why, Side, Form, JSON string
		Expected                    struct {
			Cents *int64
			Error bool
		}
	}
	for _, r := range readVectors[row](t, "amounts.json") {
		t.Run(r.Name, func(t *testing.T) {
			var got Amount
			var err error
			if r.Side == "request" {
				text := r.JSON
				if r.Form == "string" {
					if err := json.Unmarshal([]byte(r.JSON), &text); err != nil {
						t.Fatal(err)
					}
				}
				got, err = ParseAmount(text)
			} else {
				err = got.UnmarshalJSON([]byte(r.JSON))
			}
			if r.Expected.Error {
				if err == nil {
					t.Errorf("%s: %s gives %s, want an error", r.Why, r.JSON, got)
				}
				return
			}
			if err != nil || int64(got) != *r.Expected.Cents {
				t.Errorf("%s: %s gives %d, %v", r.Why, r.JSON, got, err)
			}
		})
	}
}

// verdictOf names an envelope's fate with the words of the vectors.
func verdictOf(t *testing.T, method string, body []byte, keys []*rsa.PublicKey, key []byte) (verdict string, e envelope, node []byte) {
	t.Helper()
	e, err := openEnvelope(method, body, key != nil)
	if err != nil {
		return "malformed", e, nil
	}
	if err := e.verify(keys); errors.Is(err, ErrUnsigned) {
		return "missing_signature", e, e.node
	} else if err != nil {
		return "bad_signature", e, nil
	}
	if node, err = e.plain(key); err != nil {
		return "malformed", e, nil
	}
	return "ok", e, node
}

func TestVectorsResponseVerify(t *testing.T) {
	type row struct {
		Name, Why, Method, Mode string
		Encrypted               bool
		Status                  int `json:"http_status"`
		Body                    string
		Expected                struct {
			Verdict, Root, Node, Plain string
			Code                       *string
			SubCode                    *string `json:"sub_code"`
			Fields                     map[string]string
		}
	}
	keys := publicKeys(t, "keys/alipay_public.pem")
	for _, r := range readVectors[row](t, "v2-response-verify.json") {
		t.Run(r.Name, func(t *testing.T) {
			var key []byte
			if r.Encrypted {
				key = aesKey(t, "keys/aes_key.txt")
			}
			verdict, e, node := verdictOf(t, r.Method, []byte(r.Body), keys, key)
			want := r.Expected
			if verdict != want.Verdict {
				t.Fatalf("%s: verdict %s, want %s", r.Why, verdict, want.Verdict)
			}
			if verdict == "ok" && (e.root != want.Root || string(e.node) != want.Node) {
				t.Errorf("%s: %s = %s", r.Why, e.root, e.node)
			}
			if want.Plain != "" && string(node) != want.Plain {
				t.Errorf("%s: plain %s", r.Why, node)
			}
			if node == nil {
				return
			}
			var head common
			if err := decode(node, &head); err != nil {
				t.Fatalf("%s: %v", r.Why, err)
			}
			if want.Code != nil && head.code != *want.Code {
				t.Errorf("%s: code %s, want %s", r.Why, head.code, *want.Code)
			}
			if want.SubCode != nil && head.subCode != *want.SubCode {
				t.Errorf("%s: sub_code %s, want %s", r.Why, head.subCode, *want.SubCode)
			}
			for name, text := range want.Fields {
				var got string
				if _, err := decodeFields(node, []field{proof(name, &got)}); err != nil || got != text {
					t.Errorf("%s: %s is %q, %v; want %q", r.Why, name, got, err, text)
				}
			}
		})
	}
}
