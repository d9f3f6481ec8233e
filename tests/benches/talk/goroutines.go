// The talk's server in Go: a goroutine for each connection, and the computing where it is asked for.
//
// Go's scheduler takes a goroutine off its core after ten milliseconds, so a long request does not stop a short one; how
// long the short one waits is what the benchmark asks. Written as a user of Go would write it first.
//
// Comes from: talk.rs, which builds it where Go is installed. Goes to: the client in client.rs.
package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"strconv"
	"strings"
)

func fib(n uint64) uint64 {
	if n <= 2 {
		return 1
	}
	return fib(n-1) + fib(n-2)
}

func answer(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return // the client has left
		}
		n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
		if err != nil {
			return
		}
		if _, err := fmt.Fprintln(conn, fib(n)); err != nil {
			return
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go answer(conn)
	}
}
