//go:build !race

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// relay stands before a server of RocketMQ's remoting protocol and passes frames
// on, changed where it is asked to. Closing the test closes it.
type relay struct {
	// answer may change a frame of the server.
	answer func(client net.Conn, f frame) frame
	// request may change a frame of a client, or answer it in the server's place.
	request func(client net.Conn, f frame) (to, back frame)
}

// frame is what follows a frame's length: the length of its header, with the
// encoding in the highest byte, the header and the body.
type frame []byte

func (f frame) parts() (header, body []byte) {
	n := 4 + int(binary.BigEndian.Uint32(f[:4])&0xFFFFFF)
	return f[4:n], f[n:]
}

// framed puts a header in JSON and a body together.
func framed(header, body []byte) frame {
	f := binary.BigEndian.AppendUint32(nil, uint32(len(header)))
	return append(append(f, header...), body...)
}

func (r *relay) start(t *testing.T, server string) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	keep := func(c net.Conn, is bool) {
		mu.Lock()
		defer mu.Unlock()
		if is {
			open[c] = true
			return
		}
		delete(open, c)
	}
	wg.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server)
			if err != nil {
				_ = near.Close()
				continue
			}
			keep(near, true)
			keep(far, true)
			var writing sync.Mutex // on near: answers come from both ends
			wg.Go(func() {
				defer func() {
					_ = far.Close()
					keep(far, false)
				}()
				for f := next(near); f != nil; f = next(near) {
					to, back := f, frame(nil)
					if r.request != nil {
						to, back = r.request(near, f)
					}
					if to != nil && !put(far, to, nil) || back != nil && !put(near, back, &writing) {
						return
					}
				}
			})
			wg.Go(func() {
				defer func() {
					_ = near.Close()
					keep(near, false)
				}()
				for f := next(far); f != nil; f = next(far) {
					if r.answer != nil {
						f = r.answer(near, f)
					}
					if !put(near, f, &writing) {
						return
					}
				}
			})
		}
	})
	return listener.Addr().String()
}

func next(from io.Reader) frame {
	var length [4]byte
	if _, err := io.ReadFull(from, length[:]); err != nil {
		return nil
	}
	f := make(frame, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(from, f); err != nil {
		return nil
	}
	return f
}

func put(to io.Writer, f frame, one *sync.Mutex) bool {
	if one != nil {
		one.Lock()
		defer one.Unlock()
	}
	whole := binary.BigEndian.AppendUint32(nil, uint32(len(f)))
	_, err := to.Write(append(whole, f...))
	return err == nil
}

// rewriteRoutes stands before a name server and puts a proxy's address in the place
// of each broker's in all that it answers, so that clients come to the brokers
// through the proxies. It returns its own address.
func rewriteRoutes(t *testing.T, nameServer string, proxies map[string]string) string {
	t.Helper()
	r := &relay{answer: func(_ net.Conn, f frame) frame {
		header, body := f.parts()
		for broker, proxy := range proxies {
			body = bytes.ReplaceAll(body, []byte(broker), []byte(proxy))
		}
		return framed(header, body)
	}}
	return r.start(t, nameServer)
}

// sends is what becomes of messages on their way to the broker.
type sends struct {
	mode  atomic.Int32
	done  atomic.Int64 // how many sends were spoiled
	asked sync.Map     // sent -> true: those whose answer will be spoiled
}

// sent is one request, by the number that its client gave it.
type sent struct {
	client net.Conn
	opaque int
}

const (
	sendsPass    int32 = iota
	sendsRefused       // not stored; the answer of a broker whose disk is full
	sendsInDoubt       // stored; the answer of a broker that could not flush
)

// Codes of the protocol.
const (
	codeSend           = 10
	codeSendV2         = 310
	codeFlushTimeout   = 10
	codeNotAvailable   = 14
	remotingIsResponse = 1
)

// before stands before the broker and returns its own address.
func (s *sends) before(t *testing.T, broker string) string {
	t.Helper()
	type header struct {
		Code   int `json:"code"`
		Opaque int `json:"opaque"`
		Flag   int `json:"flag"`
	}
	read := func(f frame) (h header, all map[string]any, body []byte) {
		text, body := f.parts()
		if json.Unmarshal(text, &h) != nil || json.Unmarshal(text, &all) != nil {
			return header{}, nil, body
		}
		return h, all, body
	}
	write := func(all map[string]any, body []byte) frame {
		text, err := json.Marshal(all)
		if err != nil {
			return nil
		}
		return framed(text, body)
	}
	r := &relay{
		request: func(client net.Conn, f frame) (to, back frame) {
			mode := s.mode.Load()
			if mode == sendsPass {
				return f, nil
			}
			h, all, _ := read(f)
			if all == nil || h.Code != codeSend && h.Code != codeSendV2 {
				return f, nil
			}
			if mode == sendsInDoubt {
				s.asked.Store(sent{client, h.Opaque}, true)
				return f, nil
			}
			s.done.Add(1)
			return nil, write(map[string]any{
				"code": codeNotAvailable, "flag": remotingIsResponse, "opaque": h.Opaque, "language": "JAVA", "version": all["version"],
				"serializeTypeCurrentRPC": "JSON", "remark": "service not available now. It may be caused by one of the following reasons: the broker's disk is full",
			}, nil)
		},
		answer: func(client net.Conn, f frame) frame {
			h, all, body := read(f)
			if all == nil || h.Flag&remotingIsResponse == 0 || h.Code != 0 {
				return f
			}
			if _, spoiled := s.asked.LoadAndDelete(sent{client, h.Opaque}); !spoiled {
				return f
			}
			s.done.Add(1)
			all["code"] = codeFlushTimeout
			return write(all, body)
		},
	}
	return r.start(t, broker)
}
