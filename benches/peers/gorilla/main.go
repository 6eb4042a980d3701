// A broadcast server on gorilla/websocket, after its chat example: a hub
// goroutine owns the clients, each of which has a bounded channel, a reading
// and a writing goroutine. A client whose channel is full is disconnected.
// Unlike the example, queued messages stay separate messages.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"

	"github.com/gorilla/websocket"
)

const backlog = 1024

type message struct {
	kind int
	data []byte
}

type client struct {
	socket *websocket.Conn
	send   chan message
}

type hub struct {
	clients    map[*client]bool
	broadcast  chan message
	register   chan *client
	unregister chan *client
}

func (h *hub) run() {
	for {
		select {
		case c := <-h.register:
			h.clients[c] = true
		case c := <-h.unregister:
			h.remove(c)
		case m := <-h.broadcast:
			for c := range h.clients {
				select {
				case c.send <- m:
				default:
					h.remove(c)
				}
			}
		}
	}
}

func (h *hub) remove(c *client) {
	if h.clients[c] {
		delete(h.clients, c)
		close(c.send)
	}
}

func (c *client) read(h *hub) {
	defer func() {
		h.unregister <- c
		c.socket.Close()
	}()
	for {
		kind, data, err := c.socket.ReadMessage()
		if err != nil {
			return
		}
		h.broadcast <- message{kind, data}
	}
}

func (c *client) write() {
	defer c.socket.Close()
	for m := range c.send {
		if c.socket.WriteMessage(m.kind, m.data) != nil {
			return
		}
	}
	c.socket.WriteMessage(websocket.CloseMessage, nil)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "HOST:PORT")
	cert := flag.String("tls-cert", "", "FILE")
	key := flag.String("tls-key", "", "FILE")
	flag.Parse()
	h := &hub{make(map[*client]bool), make(chan message), make(chan *client), make(chan *client)}
	go h.run()
	upgrader := websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		socket, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		c := &client{socket, make(chan message, backlog)}
		h.register <- c
		go c.write()
		go c.read(h)
	})
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	if *cert != "" {
		fmt.Printf("listening on wss://%s/\n", listener.Addr())
		log.Fatal(http.ServeTLS(listener, nil, *cert, *key))
	}
	fmt.Printf("listening on ws://%s/\n", listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}
