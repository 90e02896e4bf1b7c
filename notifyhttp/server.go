package notifyhttp

import (
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// MaxConnections is how many connections the receiver holds at once: room for many slow senders beside Alipay, at up to 128 KiB
// each.
const MaxConnections = 512

// Limit lets further connections wait in the kernel's queue while there are most of them.
func Limit(l net.Listener, most int) net.Listener { return netutil.LimitListener(l, most) }

// Server is a server for the receiver on addr, host:port, not yet started. Its limits fit the default times of Config: a request
// whose times are longer needs a longer WriteTimeout. Shutdown waits for the notifications in hand.
func Server(addr string, receiver http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           receiver,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second, // headers and body
		WriteTimeout:      20 * time.Second, // from the headers to the answer: body, publication, and some to spare
		IdleTimeout:       15 * time.Second, // an idle connection counts among MaxConnections
		MaxHeaderBytes:    16 << 10,
	}
}
