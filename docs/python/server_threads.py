"""How does the server with a thread per client look in Python, and what does its interpreter lock cost?

A twin of docs/02-threads/main.rs, written for comparison. The talk's own programs: github.com/dabeaz/concurrencylive

    python3 server_threads.py [ADDRESS [SWITCH_INTERVAL_IN_MS]]
"""

import sys
from threading import Thread

from address import listen
from fib import fib


def fib_server():
    listener = listen()
    while True:
        client, (host, port) = listener.accept()
        print(f"Connection {host}:{port}")
        Thread(target=fib_handler, args=(client,), daemon=True).start()


def fib_handler(client):
    with client:
        while request := client.recv(100):
            client.sendall(b"%d\n" % fib(int(request)))
    print("Closed")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.setswitchinterval(float(sys.argv[2]) / 1000)
    try:
        fib_server()
    except KeyboardInterrupt:
        pass
