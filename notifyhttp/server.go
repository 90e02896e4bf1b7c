package notifyhttp

import (
	"net/http"
	"time"
)

// Server is a server for the receiver on addr, host:port, not yet started. Its limits fit the default times of Config: a request
// whose times are longer needs a longer WriteTimeout. Shutdown waits for the notifications in hand.
func Server(addr string, receiver http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           receiver,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second, // headers and body
		WriteTimeout:      20 * time.Second, // from the headers to the answer: body, publication, and some to spare
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}
