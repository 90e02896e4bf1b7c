package producer_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"refundd/producer"
)

func fen(n int64) *producer.Fen {
	f := producer.Fen(n)
	return &f
}

// everyFund has every member once.
func everyFund() *producer.Funds {
	var f producer.Funds
	fill(reflect.ValueOf(&f).Elem())
	f.DepositBackInfo.BankAckTime, f.DepositBackInfo.EstBankReceiptTime = "2026-03-20T10:58:00+08:00", "2026-03-21T00:00:00+08:00"
	f.SendBackFee = fen(0) // was told
	return &f
}

func fill(v reflect.Value) {
	switch v.Kind() { //nolint:exhaustive // the rest are numbers
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field)
		}
	case reflect.String:
		v.SetString("x")
	default:
		v.SetInt(1)
	}
}

// TestFundsAreClosed: what the type can tell is what the schema names, no more and no less.
func TestFundsAreClosed(t *testing.T) {
	type schema struct {
		Properties map[string]schema
		Items      *schema
	}
	var s struct {
		Properties struct{ Data schema }
	}
	if err := json.Unmarshal(readFile(t, eventSchema), &s); err != nil {
		t.Fatal(err)
	}
	var compare func(path string, s schema, told any)
	compare = func(path string, s schema, told any) {
		if s.Items != nil {
			list, _ := told.([]any)
			if len(list) != 1 {
				t.Errorf("%s is %v", path, told)
				return
			}
			told, s = list[0], *s.Items
		}
		members, _ := told.(node)
		if got, want := names(members), names(anyNode(s.Properties)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ntold   %v\nschema %v", path, got, want)
		}
		for name, below := range s.Properties {
			compare(path+"/"+name, below, members[name])
		}
	}
	text, err := json.Marshal(everyFund())
	if err != nil {
		t.Fatal(err)
	}
	compare("funds", s.Properties.Data.Properties["funds"], members(t, text))
}

func anyNode[T any](of map[string]T) node {
	all := node{}
	for name, one := range of {
		all[name] = one
	}
	return all
}

// TestFundsWithinLimits: what is too much is cut and says so, and the event is valid all the same.
func TestFundsWithinLimits(t *testing.T) {
	s := readSchema(t, eventSchema)
	channel := producer.FundChannel{FundChannel: "ALIPAYACCOUNT", Amount: fen(1)}
	voucher := producer.FundVoucher{Memo: strings.Repeat("券", 250)}
	long := producer.FundRoyalty{ResultCode: strings.Repeat("\x01", 1000)}
	for _, row := range []struct {
		name     string
		funds    producer.Funds
		channels int // that are left
		vouchers int
		cut      bool
	}{
		{"a hundred", producer.Funds{RefundDetailItemList: repeat(channel, 100)}, 100, 0, false},
		{"one more", producer.Funds{RefundDetailItemList: repeat(channel, 101)}, 100, 0, true},
		{"vouchers give way", producer.Funds{RefundDetailItemList: repeat(channel, 100), RefundVoucherDetailList: repeat(voucher, 100)}, 100, 12, true},
		{"what else is long", producer.Funds{RefundDetailItemList: repeat(channel, 2), RefundVoucherDetailList: repeat(voucher, 9), RefundRoyaltys: repeat(long, 2)}, 2, 3, true},
		{"too much for any list", producer.Funds{RefundDetailItemList: repeat(channel, 2), RefundChannelList: strings.Repeat("x", 17<<10)}, -1, 0, true},
		{"no amount of an event", producer.Funds{SendBackFee: fen(producer.MaxFen + 1), RefundDetailItemList: repeat(channel, 2)}, -1, 0, true},
		{"nothing", producer.Funds{}, -1, 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := events()[producer.TypeCouponRefundSucceeded]
			e.Funds = &row.funds
			before := len(row.funds.RefundDetailItemList)
			got, err := e.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(readJSON(t, got.Body)); err != nil {
				t.Error(err)
			}
			told, err := producer.DecodeEvent(got.Body)
			if err != nil || told.FundsCut != row.cut || len(row.funds.RefundDetailItemList) != before {
				t.Errorf("%v, cut %t", err, told.FundsCut)
			}
			if told.Funds == nil {
				told.Funds = &producer.Funds{RefundDetailItemList: nil}
				row.channels++
			}
			if len(told.Funds.RefundDetailItemList) != row.channels || len(told.Funds.RefundVoucherDetailList) != row.vouchers {
				t.Errorf("%d channels and %d vouchers are left", len(told.Funds.RefundDetailItemList), len(told.Funds.RefundVoucherDetailList))
			}
		})
	}
}

func repeat[T any](one T, n int) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = one
	}
	return all
}
