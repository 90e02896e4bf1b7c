package alipaytest

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"
)

// Config is what a [Server] is made of. Only Keys is required.
type Config struct {
	// AppID is the one app that is known; default 2021000000000001.
	AppID string

	// Keys are both sides' keys.
	Keys *Keys

	// Signer signs what Alipay says, with the key Keys.AlipayPrivate; default that
	// key itself.
	Signer crypto.Signer

	// TradeTotal is the paid amount, in fen, of a trade or red packet that is
	// first named in a call; default 100000 (1000.00 yuan).
	TradeTotal int64

	// Latency is how long a call takes besides its own work: one half before
	// the ledger is touched and one half after. Default 0.
	Latency time.Duration

	// Seed decides every draw: two servers with one seed treat the n-th call of
	// one refund alike, whatever else they are asked in between.
	Seed uint64

	// Faults maps names of [Menu] to probabilities per call.
	Faults map[string]float64

	// FaultCalls is how many calls of one number "for a while" lasts; default 2.
	// If FaultFor is set, it lasts that long instead.
	FaultCalls int
	FaultFor   time.Duration

	// LateBy is when the money of the fault late moves; default 500 ms.
	LateBy time.Duration

	// Hold is how long a lost answer's connection stays open; default 100 ms.
	Hold time.Duration

	// Drip is the pause between eight bytes of the fault slow-drip; default 10 ms.
	Drip time.Duration

	// Limit is how many calls of the gateway, queries too, are let through in each
	// second of the clock; the rest is refused with 40005 isv.app-call-limited and
	// not carried out. 0: all are.
	Limit int

	// KeepCalls is how many calls [Server.Calls] remembers, the oldest are
	// dropped first; default 100000.
	KeepCalls int

	// NotifyURL gets the notifications of trade refunds; empty: none are sent.
	// Coupon refunds are notified at the notify_url of their own call.
	NotifyURL string

	// NotifyDelays are the pauses between the deliveries of a notification that
	// is not accepted; default Alipay's own, eight deliveries in 25 hours. An
	// empty list that is not nil means one delivery.
	NotifyDelays []time.Duration

	// Now is the clock; default [time.Now].
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	c.AppID = cmp.Or(c.AppID, "2021000000000001")
	c.TradeTotal = cmp.Or(c.TradeTotal, 100_000)
	c.FaultCalls = cmp.Or(c.FaultCalls, 2)
	c.LateBy = cmp.Or(c.LateBy, 500*time.Millisecond)
	c.Hold = cmp.Or(c.Hold, 100*time.Millisecond)
	c.Drip = cmp.Or(c.Drip, 10*time.Millisecond)
	c.KeepCalls = cmp.Or(c.KeepCalls, 100_000)
	if c.NotifyDelays == nil {
		c.NotifyDelays = notifyDelays()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Call is one call of the gateway, those that it refused included.
type Call struct {
	Method       string    `json:"method"`
	OutRequestNo string    `json:"out_request_no"`
	AppAuthToken string    `json:"app_auth_token"` // of the merchant; empty for the app itself
	Trade        string    `json:"trade"`          // trade_no or auth_no; empty if the ledger was not reached
	Amount       int64     `json:"amount"`         // fen that a refund call asked for
	Host         string    `json:"host"`           // host and port that were asked: callers may each have their own
	Start        time.Time `json:"start"`          // the request was read
	End          time.Time `json:"end"`            // the answer was written, or given up
	Fault        string    `json:"fault"`          // name of the fault that happened, or empty
	Moved        bool      `json:"moved"`          // this call moved the money
	Code         string    `json:"code"`           // what was answered; empty if nothing was
	SubCode      string    `json:"sub_code"`
}

// Server is a local Alipay. It is an [http.Handler] and safe for concurrent
// use. Its ledger lives as long as the Server, over any number of Start and
// Close.
type Server struct {
	cfg     Config
	methods map[string]method
	menu    []fault
	mux     *http.ServeMux
	listener

	notifier *http.Client

	mu          sync.Mutex // guards all below
	ledger      *ledger
	probability map[string]float64
	spoiled     map[string]*fault // by app_auth_token
	healed      bool
	applied     map[string]int
	limit       int
	second      int64 // of the clock, in which so many were let through:
	through     int
	calls       []*Call
	notices     []Notice
	errands     *errands
	dropped     int
	serial      uint64
	nonces      map[string]bool // of V3 requests since noncesSince
	noncesSince time.Time
	// noncesBefore are those of the period before.
	noncesBefore map[string]bool
}

// New makes a Server with an empty ledger. It fails without keys, for an
// amount or a duration below zero, and for a fault that is not on the menu.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	switch {
	case cfg.Keys == nil:
		return nil, errors.New("alipaytest: no keys")
	case cfg.TradeTotal < 1 || cfg.TradeTotal > maxFen:
		return nil, fmt.Errorf("alipaytest: trade total of %d fen is not within 0.01 and 100000000.00 yuan", cfg.TradeTotal)
	case min(cfg.Latency, cfg.FaultFor, cfg.LateBy, cfg.Hold, cfg.Drip) < 0 || min(cfg.FaultCalls, cfg.KeepCalls, cfg.Limit) < 0:
		return nil, errors.New("alipaytest: a duration or a count is below zero")
	}
	if cfg.Signer == nil {
		cfg.Signer = cfg.Keys.AlipayPrivate
	}
	s := &Server{
		cfg:     cfg,
		menu:    faultMenu(),
		mux:     http.NewServeMux(),
		ledger:  newLedger(cfg.TradeTotal),
		limit:   cfg.Limit,
		applied: map[string]int{},
		errands: newErrands(),
		notifier: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 4},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if err := s.SetFaults(cfg.Faults); err != nil {
		return nil, fmt.Errorf("alipaytest: %w", err)
	}
	s.methods = s.methodTable()
	s.routes()
	return s, nil
}

// ServeHTTP answers the paths of the contract.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// State is the ledger now.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.ledger.state(s.now())
	s.notifyMoved()
	return state
}

// Calls are the remembered calls in the order in which they were judged. A call
// is there before its answer is on the wire.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := make([]Call, len(s.calls))
	for i, c := range s.calls {
		calls[i] = *c
	}
	return calls
}

// Movements are all movements of money, in the order in which the ledger has them.
func (s *Server) Movements() []Movement {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Movement(nil), s.ledger.moves...)
}

// FaultCounts reports how often each fault really happened.
func (s *Server) FaultCounts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.applied)
}

// Notices are the remembered deliveries of notifications, oldest first.
func (s *Server) Notices() []Notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Notice(nil), s.notices...)
}

// SetFaults replaces the probabilities and ends a [Server.Heal]. On an error
// nothing changes.
func (s *Server) SetFaults(faults map[string]float64) error {
	if err := checkFaults(faults); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probability, s.healed = maps.Clone(faults), false
	return nil
}

// Heal ends all faults, those in request numbers too, until [Server.SetFaults].
// What they did to the ledger stays: a refused number stays refused, and money
// on its way arrives.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probability, s.healed = nil, true
}

// SpoilMerchant gives every call for the merchant of this app_auth_token a fault
// of the menu, where it fits the call; the empty name ends that. It is an error
// if the menu has no such fault.
func (s *Server) SpoilMerchant(appAuthToken, faultName string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if faultName == "" {
		delete(s.spoiled, appAuthToken)
		return nil
	}
	for i := range s.menu {
		if f := &s.menu[i]; f.name == faultName {
			if s.spoiled == nil {
				s.spoiled = map[string]*fault{}
			}
			s.spoiled[appAuthToken] = f
			return nil
		}
	}
	return fmt.Errorf("alipaytest: no fault %q on the menu", faultName)
}

// SetBalance gives the merchant of this app_auth_token (empty: the app itself)
// so many fen to refund from; SELLER_BALANCE_NOT_ENOUGH is the answer where
// they do not suffice. Before the first SetBalance it has no limit.
func (s *Server) SetBalance(appAuthToken string, fen int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger.balances[owner{s.cfg.AppID, appAuthToken}] = fen
}

// SetLimit replaces [Config.Limit]; 0 ends it.
func (s *Server) SetLimit(perSecond int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = perSecond
}

// limited counts a call, and reports whether it is one too many. The lock is held.
func (s *Server) limited() bool {
	if now := s.now().Unix(); now != s.second {
		s.second, s.through = now, 0
	}
	if s.limit > 0 && s.through >= s.limit {
		return true
	}
	s.through++
	return false
}

func (s *Server) now() time.Time { return s.cfg.Now() }

// record puts a call on record. The function it returns notes the call's end.
func (s *Server) record(c *call, method string, a answer) (end func()) {
	switch a.delivery {
	case lost, reset, silent, badGateway:
		a.code, a.subCode = "", ""
	case delivered, cutBody, cutJSON, dripping:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) >= s.cfg.KeepCalls {
		drop := (s.cfg.KeepCalls + 1) / 2
		s.dropped += drop
		s.calls = append([]*Call(nil), s.calls[drop:]...)
	}
	entry := &Call{
		Method: method, OutRequestNo: c.number, AppAuthToken: c.owner.token, Start: c.start, End: s.now(),
		Trade: c.trade, Amount: c.amount, Host: c.host,
		Fault: c.fault, Moved: c.moved, Code: a.code, SubCode: a.subCode,
	}
	s.calls = append(s.calls, entry)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		entry.End = s.now()
	}
}

// listener is the part of a Server between Start and Close.
type listener struct {
	starting sync.Mutex // guards all below
	http     *http.Server
	cancel   context.CancelFunc
	served   chan struct{}
	conns    *sync.WaitGroup
}

// Start listens on addr ("127.0.0.1:0" takes a free port) and returns the base
// URL, without a path. It returns when connections are accepted.
func (s *Server) Start(addr string) (baseURL string, err error) {
	s.starting.Lock()
	defer s.starting.Unlock()
	if s.http != nil {
		return "", errors.New("alipaytest: started already")
	}
	ctx, cancel := context.WithCancel(context.Background())
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		cancel()
		return "", fmt.Errorf("alipaytest: listen: %w", err)
	}
	conns := &sync.WaitGroup{}
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				conns.Done()
			case http.StateActive, http.StateIdle:
			}
		},
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(ln) // ends with ErrServerClosed by Close
	}()
	s.http, s.cancel, s.served, s.conns = server, cancel, served, conns
	return "http://" + ln.Addr().String(), nil
}

// Close cuts all connections, drops notifications that are not accepted yet,
// waits until nothing runs any more, and leaves the ledger as it is. Start may
// be called again. Closing twice does nothing. A Server that is used as a
// handler only must be closed, too, when its notifications shall end.
func (s *Server) Close() error {
	s.starting.Lock()
	defer s.starting.Unlock()
	var err error
	if s.http != nil {
		s.cancel()
		err = s.http.Close()
		<-s.served
		s.conns.Wait()
		s.http = nil
	}
	s.mu.Lock()
	old := s.errands
	s.errands = newErrands()
	s.mu.Unlock()
	old.cancel()
	old.wg.Wait()
	s.notifier.CloseIdleConnections()
	if err != nil {
		return fmt.Errorf("alipaytest: close: %w", err)
	}
	return nil
}
