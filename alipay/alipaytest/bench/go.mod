module refundd/alipay/alipaytest/bench

go 1.26.0

replace refundd => ../../..

require (
	github.com/go-pay/gopay v1.5.115
	github.com/smartwalle/alipay/v3 v3.2.28
	refundd v0.0.0-00010101000000-000000000000
)

require (
	github.com/go-pay/crypto v0.0.1 // indirect
	github.com/go-pay/xlog v0.0.3 // indirect
	github.com/go-pay/xtime v0.0.2 // indirect
	github.com/smartwalle/ncrypto v1.0.4 // indirect
	github.com/smartwalle/ngx v1.0.12 // indirect
	github.com/smartwalle/nsign v1.0.9 // indirect
	golang.org/x/text v0.42.0 // indirect
)
