package consumer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"refundd/alipay"
)

// The limits of CONTRACT §3 that hold for more than one member.
const (
	maxBody            = 64 << 10 // bytes
	maxItems           = 100      // of an array
	maxNumber          = 64       // characters of out_request_no and the like
	maxMetadataEntries = 32
	maxMetadataBytes   = 2048 // of names and values together
	maxQuantity        = 1_000_000_000_000_000_000 - 1
	maxName            = 64 // characters of a path that is quoted
)

// decoder walks through one command in the order of its text and remembers the first offence.
type decoder struct {
	jsonCursor
	first   string // the first offending member in the text, as a sentence
	missing string // the first missing one: named only if nothing in the text offends
}

func (d *decoder) offence() string {
	if d.first != "" {
		return d.first
	}
	return d.missing
}

// offend reports a member, by its path as the text writes it. It gives back nothing to keep, so that a reading can end with it.
func (d *decoder) offend(path, what string) (keep func()) {
	if d.first == "" {
		d.first = quoted(path) + " " + what
	}
	return nil
}

// reading reads or skips the value that comes next, and gives back how to keep it: nil if it offends. Keeping comes later, because a
// second value for the same member spoils the first.
type reading func(d *decoder, path string) (keep func())

// member is a name that an object may have.
type member struct {
	name string
	read reading
}

// need names members of which at least one must be given.
type need []string

// object reads the object that comes next: path is its own, empty for the whole command. It keeps every member that is valid by
// itself and reports whether all was well.
func (d *decoder) object(path string, members []member, needs []need) (ok bool) {
	prefix := path
	if path != "" {
		prefix += "."
	}
	ok = true
	keep, none := map[string]func(){}, func() {}
	given := map[string]bool{}
	d.members(func(name string, _ bool) {
		m, known := find(members, name)
		_, again := keep[name]
		switch {
		case !known:
			d.offend(prefix+name, "is not a known member")
			d.skip()
			ok = false
		case again:
			keep[name] = d.offend(prefix+name, "is given twice")
			d.skip()
		case d.next() == 'n' && !slices.ContainsFunc(needs, only(name)):
			d.skip() // null counts as not sent
			keep[name] = none
		default:
			given[name] = true
			keep[name] = m.read(d, prefix+name)
		}
	})
	for _, do := range keep {
		if do == nil {
			ok = false
			continue
		}
		do()
	}
	for _, names := range needs {
		if !slices.ContainsFunc(names, func(name string) bool { return given[name] }) {
			ok = false
			if d.missing == "" {
				d.missing = missing(prefix, names)
			}
		}
	}
	return ok
}

func missing(prefix string, names need) string {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = quoted(prefix + name)
	}
	return strings.Join(paths, " or ") + " is missing"
}

func find(members []member, name string) (member, bool) {
	for _, m := range members {
		if m.name == name {
			return m, true
		}
	}
	return member{}, false
}

// only reports whether a need names this member and no other.
func only(name string) func(need) bool {
	return func(n need) bool { return len(n) == 1 && n[0] == name }
}

// text reads a string of 1 to limit characters into s; anything else offends.
func (d *decoder) text(path string, limit int) (s string, ok bool) {
	if d.next() != '"' {
		d.skip()
		d.offend(path, "is not a string")
		return "", false
	}
	s, exact := d.str()
	switch {
	case !exact:
		d.offend(path, "holds half of a surrogate pair")
	case s == "":
		d.offend(path, "is empty")
	case utf8.RuneCountInString(s) > limit:
		d.offend(path, fmt.Sprintf("has more than %d characters", limit))
	default:
		return s, true
	}
	return "", false
}

// text is any string of 1 to limit characters.
func text(into *string, limit int) reading {
	return checked(into, limit, nil, "")
}

// number is a number in Alipay's sense: printable ASCII without spaces.
func number(into *string) reading {
	printable := func(s string) bool {
		return strings.IndexFunc(s, func(r rune) bool { return r < 0x21 || r > 0x7e }) < 0
	}
	return checked(into, maxNumber, printable, "holds a character that is not printable ASCII")
}

func currency(into *string) reading {
	return checked(into, maxBody, isCurrency, "is not three capital letters")
}

func isCurrency(s string) bool {
	return len(s) == 3 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

func queryOption(into *string) reading {
	known := func(s string) bool { return slices.Contains(alipay.RefundOptions(), s) }
	return checked(into, maxBody, known, "is not a known query option")
}

func checked(into *string, limit int, valid func(string) bool, otherwise string) reading {
	return func(d *decoder, path string) func() {
		s, ok := d.text(path, limit)
		switch {
		case !ok:
			return nil
		case valid != nil && !valid(s):
			return d.offend(path, otherwise)
		}
		return func() { *into = s }
	}
}

// amount is yuan as a string. A JSON number is refused: too many programs read it as a float.
func amount(into *alipay.Amount) reading {
	return func(d *decoder, path string) func() {
		s, ok := d.text(path, maxBody)
		if !ok {
			return nil
		}
		fen, err := alipay.ParseAmount(s)
		if err != nil {
			return d.offend(path, "is not an amount in yuan from 0.01 to 100000000.00 with at most two decimals")
		}
		return func() { *into = fen }
	}
}

// whole is a whole number from 1 to limit.
func whole(into *int, limit int) reading {
	return func(d *decoder, path string) func() {
		if char := d.next(); char != '-' && (char < '0' || char > '9') {
			d.skip()
			return d.offend(path, "is not a number")
		}
		n, ok := wholeNumber(d.number())
		if !ok || n < 1 || n > int64(limit) {
			return d.offend(path, "is not a whole number from 1 to "+strconv.Itoa(limit))
		}
		return func() { *into = int(n) }
	}
}

func objects[T any](into *[]T, members func(*T) []member, needs ...need) reading {
	return array(into, func(item *T) reading {
		return func(d *decoder, path string) func() {
			if d.next() != '{' {
				d.skip()
				return d.offend(path, "is not an object")
			}
			if !d.object(path, members(item), needs) {
				return nil
			}
			return func() {}
		}
	})
}

func texts(into *[]string, item func(into *string) reading) reading {
	return array(into, item)
}

// array is kept only if all its items are valid.
func array[T any](into *[]T, item func(*T) reading) reading {
	return func(d *decoder, path string) func() {
		if d.next() != '[' {
			d.skip()
			return d.offend(path, "is not an array")
		}
		var all []T
		count, ok := 0, true
		d.items(func() {
			count++
			if count > maxItems {
				d.offend(path, fmt.Sprintf("has more than %d items", maxItems))
				d.skip()
				ok = false
				return
			}
			var one T
			keep := item(&one)(d, path+"["+strconv.Itoa(count-1)+"]")
			if keep == nil {
				ok = false
				return
			}
			keep()
			all = append(all, one)
		})
		switch {
		case count == 0:
			return d.offend(path, "is empty")
		case !ok:
			return nil
		}
		return func() { *into = all }
	}
}

// metadata is kept only if all its entries are valid. Names and values may be empty: they go back as they came.
func metadata(into *map[string]string) reading {
	return func(d *decoder, path string) func() {
		if d.next() != '{' {
			d.skip()
			return d.offend(path, "is not an object")
		}
		all := map[string]string{}
		size, ok := 0, true
		offend := func(path, what string) {
			d.offend(path, what)
			ok = false
		}
		d.members(func(name string, exact bool) {
			entry := path + "." + name
			if _, again := all[name]; again {
				offend(entry, "is given twice")
			}
			if !exact {
				offend(entry, "holds half of a surrogate pair")
			}
			value := ""
			if d.next() == '"' {
				value, exact = d.str()
				if !exact {
					offend(entry, "holds half of a surrogate pair")
				}
			} else {
				d.skip()
				offend(entry, "is not a string")
			}
			all[name] = value
			size += len(name) + len(value)
			if len(all) > maxMetadataEntries {
				offend(path, fmt.Sprintf("has more than %d entries", maxMetadataEntries))
			}
			if size > maxMetadataBytes {
				offend(path, fmt.Sprintf("has more than %d bytes of names and values", maxMetadataBytes))
			}
		})
		if !ok {
			return nil
		}
		return func() { *into = all }
	}
}

// quoted shows the path of a member: control characters and the like escaped, then cut.
func quoted(name string) string {
	var shown strings.Builder
	length := 0
	for _, r := range name {
		escaped := strings.TrimSuffix(strings.TrimPrefix(strconv.Quote(string(r)), `"`), `"`)
		length += utf8.RuneCountInString(escaped)
		if length > maxName {
			break
		}
		shown.WriteString(escaped)
	}
	return `"` + shown.String() + `"`
}
