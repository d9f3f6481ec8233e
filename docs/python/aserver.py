"""What does the talk's last server look like: one thread, a loop, generators for tasks, and processes that compute?

A task is a generator. It yields why it cannot go on, and what it waits for: ("recv", socket), ("send", socket),
("future", future). The loop puts it aside until that has happened. The defects that docs/README.md lists are meant to be
here: this is the program that the walkthrough starts from and improves.

A twin, written anew for comparison. The talk's own programs: github.com/dabeaz/concurrencylive

    python3 aserver.py [ADDRESS]
"""

import signal
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from select import select
from socket import socketpair

from address import listen
from fib import fib

tasks = deque()  # those that can go on
recv_wait, send_wait = {}, {}  # socket: the task that waits for it
future_wait = {}  # future: the task that waits for it
notify, event = socketpair()  # a byte into one end ends a select on the other


def run():
    while tasks or recv_wait or send_wait:
        while not tasks:
            readable, writable, _ = select(recv_wait, send_wait, [])
            tasks.extend(recv_wait.pop(sock) for sock in readable)
            tasks.extend(send_wait.pop(sock) for sock in writable)
        task = tasks.popleft()
        try:
            why, what = next(task)
        except StopIteration:
            continue
        if why == "recv":
            recv_wait[what] = task
        elif why == "send":
            send_wait[what] = task
        elif why == "future":
            future_wait[what] = task
            what.add_done_callback(future_done)


def future_done(future):
    """Runs on a thread of the pool."""
    tasks.append(future_wait.pop(future))
    notify.send(b"!")


def future_monitor():
    while True:
        yield "recv", event
        event.recv(100)


class AsyncSocket:
    def __init__(self, sock):
        self.sock = sock

    def accept(self):
        yield "recv", self.sock
        client, peer = self.sock.accept()
        return AsyncSocket(client), peer

    def recv(self, size):
        yield "recv", self.sock
        return self.sock.recv(size)

    def send(self, data):
        yield "send", self.sock
        return self.sock.send(data)


def fib_server(pool):
    listener = AsyncSocket(listen())
    while True:
        client, (host, port) = yield from listener.accept()
        print(f"Connection {host}:{port}")
        tasks.append(fib_handler(client, pool))


def fib_handler(client, pool):
    while request := (yield from client.recv(100)):
        future = pool.submit(fib, int(request))
        yield "future", future
        yield from client.send(b"%d\n" % future.result())
    print("Closed")


if __name__ == "__main__":
    with ProcessPoolExecutor(4, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        pool.submit(fib, 1).result()  # starts the workers before there is a connection that they would inherit
        tasks.append(future_monitor())
        tasks.append(fib_server(pool))
        try:
            run()
        except KeyboardInterrupt:
            pass
