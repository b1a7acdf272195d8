package main

import (
	"net"
	"sync"
	"sync/atomic"

	"github.com/lxzan/gws"
)

// When what was written to a connection leaves it.
const (
	atOnce          = iota
	beforeReading   // then all that had come has been answered
	afterBroadcasts // when no broadcast waits in gws's queue of this connection
)

// From here on it is written in any case.
const gatheredBytesMax = 16 << 10

// gathering makes one write of several: gws itself writes each frame. It has no lock of its own: gws writes to a connection under the
// connection's mutex, and an echoing connection is written to by the goroutine that reads it.
type gathering struct {
	net.Conn
	when     int
	gathered *[]byte
	// Broadcasts and pongs that were handed to gws for this connection and not yet written.
	awaited atomic.Int32
}

// Buffers are lent out while there is something in them: an idle connection has none.
var buffers = sync.Pool{New: func() any {
	buffer := make([]byte, 0, gatheredBytesMax)
	return &buffer
}}

func (c *gathering) Read(into []byte) (int, error) {
	if c.when == beforeReading {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(into)
}

func (c *gathering) Write(bytes []byte) (int, error) {
	isMore := false
	switch c.when {
	case beforeReading:
		isMore = true
	case afterBroadcasts:
		isMore = c.awaited.Add(-1) > 0
	}
	if bytes[0]&0x0f == byte(gws.OpcodeCloseConnection) {
		isMore = false // gws closes the connection next
	}
	if c.gathered == nil && (!isMore || len(bytes) > gatheredBytesMax) {
		return c.Conn.Write(bytes)
	}
	if c.gathered != nil && len(*c.gathered)+len(bytes) > gatheredBytesMax {
		if err := c.flush(); err != nil {
			return 0, err
		}
		if len(bytes) > gatheredBytesMax {
			return c.Conn.Write(bytes)
		}
	}
	if c.gathered == nil {
		c.gathered = buffers.Get().(*[]byte)
	}
	*c.gathered = append(*c.gathered, bytes...)
	if isMore {
		return len(bytes), nil
	}
	return len(bytes), c.flush()
}

func (c *gathering) flush() error {
	if c.gathered == nil {
		return nil
	}
	_, err := c.Conn.Write(*c.gathered)
	*c.gathered = (*c.gathered)[:0]
	buffers.Put(c.gathered)
	c.gathered = nil
	return err
}

type gatheringListener struct{ net.Listener }

func (l gatheringListener) Accept() (net.Conn, error) {
	connection, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &gathering{Conn: connection}, nil
}
