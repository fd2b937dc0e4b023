package main

import (
	"context"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// coderConn is a connection with a writer of its own and a bounded queue, as in the chat example of
// the library. It knows no prepared messages: each receiver is framed, and compressed, by itself.
type coderConn struct {
	*websocket.Conn
	queue chan []byte
}

func serveCoder(ln net.Listener, compress bool) error {
	options := &websocket.AcceptOptions{InsecureSkipVerify: true}
	if compress {
		options.CompressionMode = websocket.CompressionNoContextTakeover
		options.CompressionThreshold = 1
	}
	var all rooms[*coderConn]
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, options)
		if err != nil {
			return
		}
		ws.SetReadLimit(1 << 20)
		p := placeOf(r.URL.Path, r.URL.Query().Get("room"))
		if p.echo {
			go coderEcho(ws)
			return
		}
		c := &coderConn{ws, make(chan []byte, queueMax)}
		go c.write()
		go c.chat(&all, p)
	}))
}

func coderEcho(ws *websocket.Conn) {
	defer ws.CloseNow()
	ctx := context.Background()
	for {
		kind, message, err := ws.Read(ctx)
		if err != nil || ws.Write(ctx, kind, message) != nil {
			return
		}
	}
}

func (c *coderConn) write() {
	for m := range c.queue {
		if c.Write(context.Background(), websocket.MessageText, m) != nil {
			break
		}
	}
	c.CloseNow()
	for range c.queue { // until chat has left the room
	}
}

func (c *coderConn) chat(all *rooms[*coderConn], p place) {
	all.join(p.room, c)
	defer func() {
		all.leave(p.room, c)
		close(c.queue)
		c.CloseNow()
	}()
	for {
		_, text, err := c.Read(context.Background())
		if err != nil {
			return
		}
		m := append([]byte(p.name+": "), text...)
		all.others(p.room, c, func(to *coderConn) {
			select {
			case to.queue <- m:
			default:
				go to.CloseNow()
			}
		})
	}
}
