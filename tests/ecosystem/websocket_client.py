"""Does the WebSocket echo follow RFC 6455? Frames written by hand, nothing but the standard library.

websocket_client.py HOST PORT
"""
import base64
import hashlib
import os
import socket
import sys

TEXT, BINARY, CLOSE, PING, PONG, MORE = 1, 2, 8, 9, 10, 0
FINAL, MASKED = 0x80, 0x80


def send(stream, kind, body=b"", final=True):
    head = bytes([kind | (FINAL if final else 0)])
    if len(body) < 126:
        head += bytes([MASKED | len(body)])
    elif len(body) < 65536:
        head += bytes([MASKED | 126]) + len(body).to_bytes(2, "big")
    else:
        head += bytes([MASKED | 127]) + len(body).to_bytes(8, "big")
    mask = os.urandom(4)
    stream.sendall(head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(body)))


def receive(file):
    first, size = file.read(2)
    assert first & FINAL, "the echo does not send in pieces"
    assert not size & MASKED, "a server does not mask"
    if size == 126:
        size = int.from_bytes(file.read(2), "big")
    elif size == 127:
        size = int.from_bytes(file.read(8), "big")
    return first & 0x0F, file.read(size)


host, port = sys.argv[1], int(sys.argv[2])
with socket.create_connection((host, port), timeout=30) as stream, stream.makefile("rb") as file:
    key = base64.b64encode(os.urandom(16)).decode()
    stream.sendall(
        f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert file.readline().startswith(b"HTTP/1.1 101 ")
    fields = dict(line.decode().lower().strip().split(": ") for line in iter(file.readline, b"\r\n"))
    accept = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    assert fields["sec-websocket-accept"] == base64.b64encode(accept).decode().lower()

    send(stream, TEXT, "grüß dich".encode())
    assert receive(file) == (TEXT, "grüß dich".encode())

    send(stream, TEXT, b"in ", final=False)
    send(stream, PING, b"in between")
    send(stream, MORE, b"pieces")
    assert receive(file) == (PONG, b"in between")
    assert receive(file) == (TEXT, b"in pieces")

    for size in (125, 126, 65535, 65536, 300_000):
        body = os.urandom(size)
        send(stream, BINARY, body)
        assert receive(file) == (BINARY, body), size

    send(stream, CLOSE, (1000).to_bytes(2, "big"))
    assert receive(file) == (CLOSE, (1000).to_bytes(2, "big"))
    assert file.read() == b"", "and then the end"
print("text, pieces, binary, ping, close: all as it should be")
