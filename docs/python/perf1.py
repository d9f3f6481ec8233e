"""How long does one long request take?

A twin of server/src/bin/perf1.rs, written for comparison. The talk's own programs: github.com/dabeaz/concurrencylive

    python3 perf1.py [ADDRESS]
"""

import time

from address import connect

server = connect()
try:
    while True:
        start = time.perf_counter()
        server.sendall(b"30")
        if not server.recv(100):
            raise SystemExit("the server has closed the connection")
        print(f"{time.perf_counter() - start:.6f}")
except KeyboardInterrupt:
    pass
