"""How many short requests a second?

A twin of server/src/bin/perf2.rs, written for comparison. The talk's own programs: github.com/dabeaz/concurrencylive

    python3 perf2.py [ADDRESS]
"""

import time
from threading import Thread

from address import connect

answers = 0


def monitor():
    global answers
    while True:
        time.sleep(1)
        print(answers, "reqs/sec")
        answers = 0


server = connect()
Thread(target=monitor, daemon=True).start()
try:
    while True:
        server.sendall(b"1")
        if not server.recv(100):
            raise SystemExit("the server has closed the connection")
        answers += 1
except KeyboardInterrupt:
    pass
