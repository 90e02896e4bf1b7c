package config

// unsupported is a variable whose feature this version does not have.
type unsupported struct {
	name string
	only string // the one value that is accepted, and that is used when the variable is not set
}

// unsupportedVariables lists what the contract has and this version does not. Setting one of them to anything but its
// only value is an error, so that nobody believes in a feature that is not there. When a feature arrives its row goes,
// and the default of the field counts.
func unsupportedVariables() []unsupported {
	return []unsupported{
		{"REFUNDD_ALIPAY_SIGNER", SignerGo},
	}
}
