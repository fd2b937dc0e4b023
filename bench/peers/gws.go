package main

import (
	"net"
	"net/http"

	"github.com/lxzan/gws"
)

// gwsServer is the event handler of gws. What its documentation recommends for speed is in use: a
// Broadcaster, which makes a frame once and writes it to each connection by its own write queue,
// and no goroutine for each message.
type gwsServer struct {
	gws.BuiltinEventHandler
	rooms rooms[*gws.Conn]
}

const placeKey = "place"

func serveGWS(ln net.Listener, compress bool) error {
	h := &gwsServer{}
	up := gws.NewUpgrader(h, &gws.ServerOption{
		PermessageDeflate: gws.PermessageDeflate{Enabled: compress, Threshold: 1},
		Authorize: func(r *http.Request, s gws.SessionStorage) bool {
			s.Store(placeKey, placeOf(r.URL.Path, r.URL.Query().Get("room")))
			return true
		},
	})
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r)
		if err != nil {
			return
		}
		go c.ReadLoop() // so that the goroutine of net/http, with its buffers, can end
	}))
}

func gwsPlace(c *gws.Conn) place {
	p, _ := c.Session().Load(placeKey)
	return p.(place)
}

func (h *gwsServer) OnOpen(c *gws.Conn) {
	if p := gwsPlace(c); !p.echo {
		h.rooms.join(p.room, c)
	}
}

func (h *gwsServer) OnClose(c *gws.Conn, _ error) {
	if p := gwsPlace(c); !p.echo {
		h.rooms.leave(p.room, c)
	}
}

func (h *gwsServer) OnPing(c *gws.Conn, payload []byte) { c.WritePong(payload) }

func (h *gwsServer) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	p := gwsPlace(c)
	if p.echo {
		c.WriteMessage(m.Opcode, m.Bytes())
		return
	}
	b := gws.NewBroadcaster(gws.OpcodeText, append([]byte(p.name+": "), m.Bytes()...))
	defer b.Close()
	h.rooms.others(p.room, c, func(to *gws.Conn) { b.Broadcast(to) })
}
