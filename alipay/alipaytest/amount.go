package alipaytest

import (
	"fmt"
	"strconv"
	"strings"
)

// maxFen is Alipay's upper limit of one amount: 100000000.00 yuan.
const maxFen = 100_000_000_00

// ParseYuan reads an amount in yuan, "1", "1.5" or "1.50", into fen. It
// refuses signs, exponents, leading zeros, more than two decimals, zero, and
// more than 100000000.00.
func ParseYuan(text string) (int64, error) {
	whole, cents, pointed := strings.Cut(text, ".")
	if pointed && (len(cents) < 1 || len(cents) > 2) || len(whole) < 1 || len(whole) > 9 ||
		!digits(whole) || !digits(cents) || len(whole) > 1 && whole[0] == '0' {
		return 0, fmt.Errorf("amount %q: want yuan with at most two decimals", text)
	}
	fen, err := strconv.ParseInt(whole+(cents + "00")[:2], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("amount %q: %w", text, err)
	}
	if fen < 1 || fen > maxFen {
		return 0, fmt.Errorf("amount %q: want 0.01 to 100000000.00", text)
	}
	return fen, nil
}

// FormatYuan prints fen as yuan with exactly two decimals.
func FormatYuan(fen int64) string {
	sign := ""
	if fen < 0 {
		sign, fen = "-", -fen
	}
	return fmt.Sprintf("%s%d.%02d", sign, fen/100, fen%100)
}

func digits(text string) bool {
	for _, r := range text {
		if r < '0' || r > '9' {
			return false
		}
	}
	return true
}
