package main

import (
	"net"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

// gorillaConn is a connection with a writer of its own. Its queue is bounded: who does not read is
// disconnected.
type gorillaConn struct {
	*websocket.Conn
	queue chan *websocket.PreparedMessage
}

// queueMax is how many messages may wait for a connection.
const queueMax = 512

// serveGorilla uses what gorilla has for speed: write buffers that are pooled, small read buffers,
// and prepared messages, which are framed and compressed once for all receivers.
func serveGorilla(ln net.Listener, compress bool) error {
	up := &websocket.Upgrader{
		ReadBufferSize: 1024, WriteBufferSize: 4096, WriteBufferPool: &sync.Pool{},
		EnableCompression: compress,
		CheckOrigin:       func(*http.Request) bool { return true },
	}
	var all rooms[*gorillaConn]
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		p := placeOf(r.URL.Path, r.URL.Query().Get("room"))
		if p.echo {
			go gorillaEcho(ws)
			return
		}
		c := &gorillaConn{ws, make(chan *websocket.PreparedMessage, queueMax)}
		go c.write()
		go c.chat(&all, p)
	}))
}

func gorillaEcho(ws *websocket.Conn) {
	defer ws.Close()
	for {
		kind, message, err := ws.ReadMessage()
		if err != nil || ws.WriteMessage(kind, message) != nil {
			return
		}
	}
}

func (c *gorillaConn) write() {
	for m := range c.queue {
		if c.WritePreparedMessage(m) != nil {
			break
		}
	}
	c.Close()
	for range c.queue { // until chat has left the room
	}
}

func (c *gorillaConn) chat(all *rooms[*gorillaConn], p place) {
	all.join(p.room, c)
	defer func() {
		all.leave(p.room, c)
		close(c.queue)
		c.Close()
	}()
	for {
		_, text, err := c.ReadMessage()
		if err != nil {
			return
		}
		m, err := websocket.NewPreparedMessage(websocket.TextMessage,
			append([]byte(p.name+": "), text...))
		if err != nil {
			return
		}
		all.others(p.room, c, func(to *gorillaConn) {
			select {
			case to.queue <- m:
			default:
				to.NetConn().Close()
			}
		})
	}
}
