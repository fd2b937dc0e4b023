// Command peers serves echo and chat with the libraries that a Go user would pick instead of
// Sluice, each in its best configuration, for comparisons. The paths are those of Sluice: /echo
// returns each message; what is sent to /chat/{name}?room={room} reaches everybody else in the room
// as "name: text".
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path"
	"syscall"
)

func main() {
	servers := map[string]func(net.Listener, bool) error{
		"gws": serveGWS, "gorilla": serveGorilla, "coder": serveCoder, "gobwas": serveGobwas,
		"cloudwego": serveNetpoll,
	}
	flags := flag.NewFlagSet("peers NAME", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address and port")
	compress := flags.Bool("compress", false, "grant permessage-deflate to who asks")
	if len(os.Args) < 2 || servers[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: peers gws|gorilla|coder|gobwas|cloudwego [flags]")
		os.Exit(2)
	}
	flags.Parse(os.Args[2:])
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stop
		os.Exit(0)
	}()
	fmt.Printf("ws://%s\n", ln.Addr())
	fmt.Fprintln(os.Stderr, "peers:", servers[os.Args[1]](ln, *compress))
	os.Exit(1)
}

// place is where a connection belongs by its URL.
type place struct {
	echo bool
	name string
	room string
}

func placeOf(urlPath, room string) place {
	if urlPath == "/echo" {
		return place{echo: true}
	}
	if room == "" {
		room = "lobby"
	}
	return place{name: path.Base(urlPath), room: room}
}
