// gws as a plain server: `peer-gws PORT`.
//
// Tuned: one processor; read buffers of 4 KiB; no parallel handling; no session storage; the reading goroutine starts with a fresh
// stack after the handshake; broadcasts by its Broadcaster, which encodes once; and writes are gathered (gather.go).
package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"
)

// A receiver of broadcasts that is so many messages behind is closed.
const inboxMessagesMax = 4096

var opened atomic.Int64

// echo answers each message with itself.
type echo struct{ gws.BuiltinEventHandler }

func (echo) OnOpen(*gws.Conn) { opened.Add(1) }

func (echo) OnPing(socket *gws.Conn, payload []byte) { _ = socket.WritePong(payload) }

func (echo) OnMessage(socket *gws.Conn, message *gws.Message) {
	_ = socket.WriteMessage(message.Opcode, message.Bytes())
	_ = message.Close()
}

// hub brings each message to all.
type hub struct {
	gws.BuiltinEventHandler
	mutex   sync.Mutex
	members []*gws.Conn
}

func (h *hub) OnOpen(socket *gws.Conn) {
	opened.Add(1)
	h.mutex.Lock()
	h.members = append(h.members, socket)
	h.mutex.Unlock()
}

func (h *hub) OnClose(socket *gws.Conn, _ error) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	for at, member := range h.members {
		if member == socket {
			last := len(h.members) - 1
			h.members[at] = h.members[last]
			h.members[last] = nil
			h.members = h.members[:last]
			return
		}
	}
}

func (h *hub) OnPing(socket *gws.Conn, payload []byte) {
	socket.NetConn().(*gathering).awaited.Add(1) // each write counts one down
	_ = socket.WritePong(payload)
}

func (h *hub) OnMessage(_ *gws.Conn, message *gws.Message) {
	// The first Broadcast copies the payload into the frame that all share.
	broadcaster := gws.NewBroadcaster(message.Opcode, message.Bytes())
	h.mutex.Lock()
	for _, socket := range h.members {
		connection := socket.NetConn().(*gathering)
		if connection.awaited.Add(1) > inboxMessagesMax {
			_ = connection.Conn.Close()
			continue
		}
		if broadcaster.Broadcast(socket) != nil {
			connection.awaited.Add(-1)
		}
	}
	h.mutex.Unlock()
	_ = broadcaster.Close()
	_ = message.Close()
}

// collectWhenIdle collects what the handshakes left behind once they are over, as the runtime would after some minutes by itself:
// idle memory is compared.
func collectWhenIdle() {
	var seen, collected int64
	for range time.Tick(250 * time.Millisecond) {
		now := opened.Load()
		if now == seen && seen != collected {
			collected = seen
			debug.FreeOSMemory()
		}
		seen = now
	}
}

func main() {
	port := 0
	if len(os.Args) == 2 {
		port, _ = strconv.Atoi(os.Args[1])
	}
	if port < 1 || port > 65535 {
		fmt.Fprintln(os.Stderr, "usage: peer-gws PORT")
		os.Exit(2)
	}
	runtime.GOMAXPROCS(1)
	option := &gws.ServerOption{
		ReadBufferSize:      4096,
		ReadMaxPayloadSize:  64 << 20,
		WriteMaxPayloadSize: 64 << 20,
		ParallelGolimit:     1,
		CheckUtf8Enabled:    true, // as the others do
		NewSession:          func() gws.SessionStorage { return nil },
	}
	server := gws.NewServer(echo{}, option)
	broadcasts := gws.NewUpgrader(&hub{}, option)
	server.OnError = func(connection net.Conn, _ error) {
		if connection != nil {
			_ = connection.Close()
		}
	}
	server.OnRequest = func(connection net.Conn, reader *bufio.Reader, request *http.Request) {
		upgrader, when := server.GetUpgrader(), beforeReading
		switch request.URL.Path {
		case "/":
		case "/broadcast":
			upgrader, when = broadcasts, afterBroadcasts
		default:
			_, _ = connection.Write([]byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
			_ = connection.Close()
			return
		}
		if socket, err := upgrader.UpgradeFromConn(connection, reader, request); err == nil {
			connection.(*gathering).when = when
			go socket.ReadLoop()
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go collectWhenIdle()
	fmt.Println("ready")
	fmt.Fprintln(os.Stderr, server.RunListener(gatheringListener{listener}))
	os.Exit(1)
}
