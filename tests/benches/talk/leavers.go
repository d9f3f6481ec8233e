// The talk's server in Go for clients that leave: a goroutine computes for a connection, another one reads from it.
//
// The reader's end cancels a context, and the recursion asks that context now and then, as ours asks its job. A line that
// is no number is answered without computing.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"strconv"
	"strings"
)

// Below this the recursion does not ask; fib(24) takes some 0.1 ms.
const tooSmallToAsk = 24

func fib(n uint64) uint64 {
	if n <= 2 {
		return 1
	}
	return fib(n-1) + fib(n-2)
}

func fibFor(ctx context.Context, n uint64) (uint64, error) {
	if n <= tooSmallToAsk {
		return fib(n), nil
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	a, err := fibFor(ctx, n-1)
	if err != nil {
		return 0, err
	}
	b, err := fibFor(ctx, n-2)
	return a + b, err
}

func answer(conn net.Conn) {
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lines := make(chan string, 64)
	go func() {
		defer close(lines)
		defer cancel() // the client has left
		reader := bufio.NewReader(conn)
		for {
			line, err := reader.ReadString('\n')
			if err != nil {
				return
			}
			select {
			case lines <- line:
			case <-ctx.Done():
				return
			}
		}
	}()
	for line := range lines {
		n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
		if err != nil {
			if _, err := fmt.Fprintln(conn, "error: that is not a number"); err != nil {
				return
			}
			continue
		}
		value, err := fibFor(ctx, n)
		if err != nil {
			return
		}
		if _, err := fmt.Fprintln(conn, value); err != nil {
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
