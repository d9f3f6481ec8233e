"""How does the server look whose threads let processes compute?

A twin of docs/03-processes/main.rs, written for comparison. The talk's own programs: github.com/dabeaz/concurrencylive

    python3 server_pool.py [ADDRESS]
"""

import signal
from concurrent.futures import ProcessPoolExecutor
from threading import Thread

from address import listen
from fib import fib


def fib_server(pool):
    listener = listen()
    while True:
        client, (host, port) = listener.accept()
        print(f"Connection {host}:{port}")
        Thread(target=fib_handler, args=(client, pool), daemon=True).start()


def fib_handler(client, pool):
    with client:
        while request := client.recv(100):
            answer = pool.submit(fib, int(request)).result()
            client.sendall(b"%d\n" % answer)
    print("Closed")


if __name__ == "__main__":
    # Ctrl-C in a terminal reaches all processes; the first one ends the others.
    with ProcessPoolExecutor(4, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        # Now, while there is no connection yet that the workers, which are forked, would keep open.
        pool.submit(fib, 1).result()
        try:
            fib_server(pool)
        except KeyboardInterrupt:
            pass
