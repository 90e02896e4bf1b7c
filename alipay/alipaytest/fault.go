package alipaytest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// FaultInfo is one line of the fault menu.
type FaultInfo struct{ Name, Doc string }

// Menu lists every fault, in the order in which a draw goes through them.
func Menu() []FaultInfo {
	menu := faultMenu()
	lines := make([]FaultInfo, len(menu))
	for i, f := range menu {
		lines[i] = FaultInfo{f.name, f.doc}
	}
	return lines
}

// ParseFaults reads "name=probability,…" as the flag -faults has it. The name
// all gives every fault that is not named an equal share of its probability.
func ParseFaults(spec string) (map[string]float64, error) {
	faults := map[string]float64{}
	for part := range strings.SplitSeq(spec, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, text, _ := strings.Cut(part, "=")
		probability, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("fault %q: want name=probability", part)
		}
		if _, twice := faults[name]; twice {
			return nil, fmt.Errorf("fault %s is given twice", name)
		}
		faults[name] = probability
	}
	if share, ok := faults["all"]; ok {
		delete(faults, "all")
		menu := Menu()
		for _, f := range menu {
			if _, named := faults[f.Name]; !named {
				faults[f.Name] = share / float64(len(menu))
			}
		}
	}
	return faults, checkFaults(faults)
}

func checkFaults(faults map[string]float64) error {
	menu := faultMenu()
	sums := map[op]float64{}
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		i := slices.IndexFunc(menu, func(f fault) bool { return f.name == name })
		probability := faults[name]
		switch {
		case i < 0:
			return fmt.Errorf("fault %q is not on the menu", name)
		case !(probability >= 0 && probability <= 1):
			return fmt.Errorf("fault %s: probability %v is not within 0 and 1", name, probability)
		}
		for _, o := range []op{refundOp, queryOp, couponOp, operationOp, noticeOp} {
			if menu[i].on&o != 0 {
				if sums[o] += probability; sums[o] > 1+1e-9 {
					return fmt.Errorf("fault %s: the probabilities of one kind of call add up to more than 1", name)
				}
			}
		}
	}
	return nil
}

// op is a set of operations.
type op int

const (
	refundOp op = 1 << iota
	queryOp
	couponOp
	operationOp
	noticeOp

	anyRefund = refundOp | couponOp
	anyQuery  = queryOp | operationOp
)

// span is how long a fault stays with one number.
type span int

const (
	once    span = iota // the first call that it fits
	while               // Config.FaultCalls calls, or Config.FaultFor
	forEver             // until Heal
)

// fault is one entry of the menu. Exactly one of instead, after and notice is set.
type fault struct {
	name, doc string
	on        op
	span      span

	// instead answers in the place of Alipay: nothing is carried out.
	// It is not asked for a refund that is known already if yields is set.
	instead func(*scene) answer
	yields  bool

	// after spoils the answer when Alipay has done its work. It reports
	// whether there was anything to spoil: if not, the fault did not happen.
	after func(*scene, *answer) bool

	// notice spoils a notification before its first delivery.
	notice func(*notice)
}

// scene is what a fault may look at.
type scene struct {
	s      *Server
	c      *call
	e      *entry
	amount int64
	f      *fault
}

// hold is a fault that has begun on one number.
type hold struct {
	f     *fault
	times int
	since int64 // Unix nanoseconds
}

// perform lets Alipay answer a call for e, under the fault that the number or
// the draw asks for. The server's lock is held.
func (s *Server) perform(c *call, e *entry, amount int64, work func() answer) answer {
	s.ledger.arrive(e.order, s.now())
	nth := e.calls
	if c.spec.op&anyQuery != 0 {
		nth = e.queries
	}
	c.draw, c.trade, c.amount = s.drawOf(c, e, nth), e.order.no, amount
	if s.limited() {
		return gateway("40005", "isv.app-call-limited", "应用调用次数超限")
	}
	f, err := s.pick(c, e)
	if err != nil {
		return business(c.spec.badContent, err.Error())
	}
	before := e.moved
	a, happened := answer{}, false
	sc := &scene{s: s, c: c, e: e, amount: amount, f: f}
	switch {
	case f == nil || f.yields && e.known():
		a = work()
	case f.instead != nil:
		a, happened = f.instead(sc), true
	default:
		a = work()
		happened = f.after(sc, &a)
	}
	c.moved = e.moved > before
	if happened {
		s.happened(c, e, f)
	}
	s.notifyMoved()
	return a
}

// drawOf is the draw of the nth call of its kind for e.
func (s *Server) drawOf(c *call, e *entry, nth int) uint64 {
	return hash(strconv.FormatUint(s.cfg.Seed, 10), c.spec.method, e.order.owner.token, e.order.no, e.number, strconv.Itoa(nth))
}

// happened counts a fault and remembers it.
func (s *Server) happened(c *call, e *entry, f *fault) {
	c.fault = f.name
	s.applied[f.name]++
	e.holdOn(c.spec.op, f, s.now().UnixNano())
}

// pick chooses the fault of this call: the one that has begun and is not over,
// the one in the number's name, or the one that the draw hits.
func (s *Server) pick(c *call, e *entry) (*fault, error) {
	h := e.holds[c.spec.op]
	named, isNamed := namedFault(s.menu, e.number)
	spoiled := s.spoiled[e.order.owner.token]
	switch {
	case isNamed && named == nil:
		return nil, fmt.Errorf("out_request_no %s names no fault of the menu", e.number)
	case s.healed:
		return nil, nil
	case spoiled != nil && spoiled.on&c.spec.op != 0:
		return spoiled, nil
	case h != nil && !s.over(h):
		return h.f, nil
	case isNamed && (h != nil || named.on&c.spec.op == 0):
		return nil, nil
	case isNamed:
		return named, nil
	}
	// The low bits of the draw serve the shape of answers.
	at := float64(c.draw>>11) / (1 << 53)
	for i := range s.menu {
		f := &s.menu[i]
		if f.on&c.spec.op == 0 {
			continue
		}
		if at -= s.probability[f.name]; at < 0 {
			return f, nil
		}
	}
	return nil, nil
}

func (s *Server) over(h *hold) bool {
	switch {
	case h.f.span == forEver:
		return false
	case h.f.span == once:
		return h.times >= 1
	case s.cfg.FaultFor > 0:
		return s.now().UnixNano()-h.since >= int64(s.cfg.FaultFor)
	}
	return h.times >= s.cfg.FaultCalls
}

// holdOn remembers that f happened to e.
func (e *entry) holdOn(o op, f *fault, now int64) {
	if e.holds == nil {
		e.holds = map[op]*hold{}
	}
	h := e.holds[o]
	if h == nil || h.f != f {
		h = &hold{f: f, since: now}
		e.holds[o] = h
	}
	h.times++
}
