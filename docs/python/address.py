"""Where does a twin listen, or connect to?

The first argument says it, as with the Rust programs; without one it is the talk's port on this machine.
"""

import socket
import sys


def address():
    text = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:25000"
    host, port = text.rsplit(":", 1)
    return host, int(port)


def listen():
    sys.stdout.reconfigure(line_buffering=True)  # a pipe gets each line at once, as a terminal does
    host, port = address()
    listener = socket.create_server((host, port), backlog=5)
    print(f"Listening on {host}:{port}")
    return listener


def connect():
    sys.stdout.reconfigure(line_buffering=True)
    return socket.create_connection(address())
