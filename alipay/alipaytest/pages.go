package alipaytest

import (
	"encoding/json"
	"net/http"
	"strings"
)

// routes are the paths. Those under /sim/ are for tests and people:
//
//	GET  /sim/state                 the ledger (contract)
//	GET  /sim/calls                 the remembered calls
//	GET  /sim/notices               the remembered deliveries of notifications
//	GET  /sim/bill?type=trade&date=2026-11-25&app_auth_token=…   the day's bill as Alipay offers it; type trade or fund
//	GET  /sim/faults                how often each fault happened
//	POST /sim/faults?spec=a=0.1,…   other probabilities
//	POST /sim/heal                  no more faults
//	POST /sim/merchant?app_auth_token=…&fault=NAME   every call of this merchant; no NAME ends it
//	POST /sim/balance?amount=1.00&app_auth_token=…   what can be refunded from
func (s *Server) routes() {
	s.mux.HandleFunc("POST /gateway.do", s.serveV2)
	for path := range v3Paths() {
		s.mux.HandleFunc("POST "+path, s.serveV3)
	}
	s.mux.HandleFunc("GET /sim/state", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.State()) })
	s.mux.HandleFunc("GET /sim/calls", func(w http.ResponseWriter, _ *http.Request) {
		calls := s.Calls()
		s.mu.Lock()
		dropped := s.dropped
		s.mu.Unlock()
		writeJSON(w, struct {
			Calls   []Call `json:"calls"`
			Dropped int    `json:"dropped"`
		}{calls, dropped})
	})
	s.mux.HandleFunc("GET /sim/notices", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, struct {
			Notices []Notice `json:"notices"`
		}{s.Notices()})
	})
	s.mux.HandleFunc("GET /sim/bill", s.serveBill)
	s.mux.HandleFunc("GET /sim/faults", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.FaultCounts()) })
	s.mux.HandleFunc("POST /sim/faults", func(w http.ResponseWriter, r *http.Request) {
		faults, err := ParseFaults(r.URL.Query().Get("spec"))
		if err == nil {
			err = s.SetFaults(faults)
		}
		done(w, err)
	})
	s.mux.HandleFunc("POST /sim/heal", func(w http.ResponseWriter, _ *http.Request) {
		s.Heal()
		done(w, nil)
	})
	s.mux.HandleFunc("POST /sim/merchant", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		done(w, s.SpoilMerchant(query.Get("app_auth_token"), query.Get("fault")))
	})
	s.mux.HandleFunc("POST /sim/balance", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		text := query.Get("amount")
		fen, err := ParseYuan(text)
		if strings.Trim(text, "0.") == "" && text != "" {
			fen, err = 0, nil
		}
		if err == nil {
			s.SetBalance(query.Get("app_auth_token"), fen)
		}
		done(w, err)
	})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // fails only if the reader has gone
}

func done(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
