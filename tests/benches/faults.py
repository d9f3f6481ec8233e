#!/usr/bin/env python3
"""The fault matrix: each system call of the server fails with each error, under a client that checks every byte.

A cell is one server with one fault: strace makes one of its calls fail with one error, once, every third time or
every time from some point on. Meanwhile a client asks, and what it sees becomes the cell's word. The table says
which words there are and what each cell is allowed to be; a cell that is anything else makes the run fail.

    python3 tests/benches/faults.py --write          all cells, and the tables of tests/benches/FAULTS.md
    python3 tests/benches/faults.py fib accept4      the cells of one service and one call
    python3 tests/benches/faults.py fib accept4 EMFILE on --verbose

An injected error is returned instead of the call, which is not made. Two consequences: a failed close() leaves its
descriptor open, and EAGAIN from a call that would have succeeded is a promise of a later report that the kernel
never gave, so that a connection may stand still (`stall`) until something else is reported for it.
"""

import argparse
import concurrent.futures
import errno
import os
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVER = HERE.parents[1] / "target/release/server"
ERRORS = "EMFILE ENFILE ENOMEM ENOBUFS ENOSPC EINTR EAGAIN ECONNABORTED ECONNRESET EPIPE EPERM ENOSYS".split()
CALLS = "accept4 recvfrom sendto epoll_ctl epoll_wait epoll_pwait2 eventfd clone3 sched_setscheduler".split()
# Faults that no row above has, because of the error or because of the call.
SIBLINGS = {
    "recvfrom": "ETIMEDOUT ENOTCONN EBADF",
    "sendto": "ETIMEDOUT ENOTCONN EBADF",
    "accept4": "EBADF EINVAL EPROTO ETIMEDOUT",
    "epoll_ctl": "EBADF EEXIST EINVAL",
    "epoll_wait": "EBADF EINVAL",
    "epoll_pwait2": "EBADF EINVAL",
    "close": "EINTR EIO",
    "shutdown": "ENOTCONN ENOBUFS",
    "getsockopt": "ENOBUFS EINVAL",
    "setsockopt": "ENOBUFS EINVAL",
    "getsockname": "ENOBUFS",
    "fcntl": "EINVAL EPERM",
    "ioctl": "EINVAL ENOMEM",
    "mmap": "ENOMEM",
    "mprotect": "ENOMEM",
    "munmap": "ENOMEM",
    "madvise": "ENOMEM",
    "clock_gettime": "EINVAL EPERM",
    "sched_getscheduler": "EPERM ENOSYS",
    "write": "EPIPE EIO",
}
# The calls that a server makes before it listens.
STARTING = "epoll_create1 eventfd2 epoll_ctl socket setsockopt bind listen getsockname socketpair rt_sigaction clone3".split()
# Where in the sequence of a thread's calls the fault falls: strace counts for each thread.
FORMS = {"first": "1", "third": "3+3", "on": "5+"}
# Each thread of the pool makes only a few of these, so that `on` begins with the first.
OF_MANY_THREADS = ("eventfd", "clock_gettime", "mmap", "mprotect", "munmap", "madvise", "sched_getscheduler")
FAULT_SECONDS = 1.2
IDLE_SECONDS = 0.7
# What a server that has nothing to do may use of the processor in IDLE_SECONDS, strace's stops included.
IDLE_CPU_SECONDS = 0.07
# A loop that spins makes more than ten thousand, under strace.
IDLE_CALLS = 500
# From the end of the fault on, for whatever has not been answered by then.
ANSWER_SECONDS = 6
# Threads of the pool stay some seconds without work.
BACK_SECONDS = 20
FIB = {1: 1, 2: 1, 10: 55, 20: 6765, 25: 75025, 30: 832040}
REFUSALS = re.compile(rb"error: .*try again later$")


def tolerated(call, error, form):
    """The words that a cell may have besides `ok`."""
    if form.startswith("start"):
        # The standard library sets up SIGPIPE before `main`, and aborts if it cannot.
        return {"ends", "cut", "refused", "aborts" if call == "rt_sigaction" else "ends"}
    words = set()
    if call in ("recvfrom", "sendto", "accept4", "epoll_ctl") and error == "EAGAIN":
        words |= {"stall", "cut"}
    if call in ("recvfrom", "sendto", "epoll_ctl", "getsockopt", "setsockopt", "ioctl", "fcntl", "shutdown"):
        # A single EINTR is no reason to lose a connection; one that never ends is.
        if (call, error) not in (("recvfrom", "EINTR"), ("sendto", "EINTR")) or form == "on":
            words |= {"cut"}
    if call == "accept4":
        # The listener is unusable, and to go on would be to serve nobody in silence.
        if error in ("EBADF", "EINVAL", "ENOSYS"):
            words |= {"ends"}
    if call == "epoll_ctl" and error in ("EBADF", "EEXIST", "EINVAL", "ENOSYS"):
        words |= {"ends"}
    if call == "epoll_wait" and error != "EINTR":
        words |= {"ends"}
    if call in ("epoll_wait", "epoll_pwait2") and error == "EINTR" and form == "on":
        # A wait that ends at once, always, leaves no way to sleep.
        words |= {"spins"}
    if call in ("clone3", "mmap", "mprotect", "sched_getscheduler", "clock_gettime"):
        words |= {"refused"}
    if call in ("mmap", "mprotect"):
        # The standard library ends the process when a new thread has no memory for its signal stack.
        words |= {"aborts"}
    if call == "close":
        words |= {"leak"}
    return words


class Wrong(Exception):
    """What no cell may be."""


class Server:
    def __init__(self, service, fault=None):
        self.folder = tempfile.TemporaryDirectory(prefix="faults-")
        self.trace = Path(self.folder.name, "trace")
        self.output = Path(self.folder.name, "output")
        self.trace.touch()
        extra = ["--prefix", ""] if service == "echo" else []
        command = [str(SERVER), service, *extra, "--quiet", "--addr", "127.0.0.1:0", "--drain", "2"]
        if fault:
            # -D: the server, not strace, is the child. -I2: strace detaches when it is told to end.
            command = ["strace", "-D", "-I2", *fault, "-o", str(self.trace), *command]
        # A panic's message is enough; to look up a backtrace's names takes seconds.
        environment = dict(os.environ, RUST_BACKTRACE="0")
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        self.pid = self.process.pid
        self.strace = None
        self.address = None

    def listens(self):
        """Waits for the address; False if the server ended instead."""
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            if match := re.search(r"server on 127\.0\.0\.1:(\d+)", self.text()):
                self.address = ("127.0.0.1", int(match[1]))
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.02)
        raise Wrong("it neither listens nor ends")

    def text(self):
        return self.output.read_text(errors="replace")

    def attach(self, fault):
        self.strace = subprocess.Popen(
            ["strace", "-p", str(self.pid), *fault, "-o", str(self.trace)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        line = self.strace.stderr.readline()
        if "attached" not in line:
            raise Wrong(f"strace could not attach: {line.strip()}")

    def detach(self):
        if self.strace:
            self.strace.terminate()
            self.strace.wait(20)
            self.strace.stderr.close()
            self.strace = None
        elif tracer := self.tracer():
            os.kill(tracer, signal.SIGTERM)
            if not until(lambda: not self.tracer(), 20):
                raise Wrong("strace does not detach")

    def tracer(self):
        try:
            return int(re.search(r"TracerPid:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())[1])
        except OSError:
            return 0

    def injected(self):
        return self.trace.read_text(errors="replace").count("(INJECTED)")

    def is_alive(self):
        return self.process.poll() is None

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def cpu(self):
        """Seconds of processor time of the threads that there are."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                pass  # the thread has ended
        return total / 1e9

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.strace:
            self.strace.wait(20)
            self.strace.stderr.close()
        self.folder.cleanup()


def until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Client:
    """Connections in threads, and the words for what became of them."""

    def __init__(self, server, service, seed):
        self.server, self.service, self.random = server, service, random.Random(seed)
        self.fault_over = None
        self.words = set()
        self.wrong = []
        self.threads = []

    def start(self, width):
        for number in range(width):
            kinds = [self.fib, self.leave] if self.service == "fib" else [self.echo, self.leave]
            seed = self.random.random()
            thread = threading.Thread(target=self.run, args=(kinds, number, random.Random(seed)), daemon=True)
            thread.start()
            self.threads.append(thread)

    def run(self, kinds, number, rng):
        end = time.monotonic() + FAULT_SECONDS
        turn = number
        while True:
            try:
                kinds[turn % 4 == 3](rng)
            except Wrong as wrong:
                self.wrong.append(str(wrong))
            turn += 1
            if time.monotonic() > end or turn > number + 8:
                return

    def is_late(self):
        return self.fault_over is not None and time.monotonic() > self.fault_over + ANSWER_SECONDS

    def connect(self):
        stream = socket.create_connection(self.server.address, timeout=10)
        stream.setblocking(False)
        return stream

    def talk(self, question, check, reads_late=False, expected=None):
        """Sends `question`, and gives what is received to `check` until that says that it is all."""
        received, sent = bytearray(), 0
        begin = time.monotonic()
        try:
            with self.connect() as stream:
                while True:
                    wait_read = [stream] if not reads_late or time.monotonic() > begin + 0.2 else []
                    wait_write = [stream] if sent < len(question) else []
                    readable, writable, _ = select.select(wait_read, wait_write, [], 0.05)
                    if writable:
                        # In pieces of any size, so that requests are cut anywhere; but the first one has a whole line,
                        # since to this server a first chunk without a newline is a request.
                        piece = random.choice([1, 7, 300, 70_000]) if sent else 70_000
                        sent += stream.send(question[sent : sent + piece])
                    if readable:
                        chunk = stream.recv(100_000)
                        received += chunk
                        done = check(bytes(received))
                        if done:
                            return done
                        if not chunk:
                            return "cut"
                    if self.is_late():
                        return "stall"
        except BlockingIOError:
            raise Wrong("select lied to the client") from None
        except OSError:
            check(bytes(received))
            return "cut"

    def fib(self, rng):
        numbers = [rng.choice(list(FIB)) for _ in range(rng.choice([1, 12]))]
        question = "".join(f"{number}\n" for number in numbers).encode()

        def check(received):
            lines = received.split(b"\n")[:-1]
            refused = False
            for line, number in zip(lines, numbers):
                if REFUSALS.match(line):
                    refused = True
                elif line != str(FIB[number]).encode():
                    raise Wrong(f"fib({number}) was answered {line[:60]!r}")
            if len(lines) > len(numbers):
                raise Wrong("more answers than requests")
            return ("refused" if refused else "ok") if len(lines) == len(numbers) else None

        self.words.add(self.talk(question, check))

    def echo(self, rng):
        question = rng.randbytes(rng.choice([1, 1000, 400_000]))

        def check(received):
            if not question.startswith(received):
                raise Wrong(f"byte {len(os.path.commonprefix([question, received]))} came back wrong")
            return "ok" if len(received) == len(question) else None

        # Most of a long question is sent before anything is read, so that the server's sends fall short.
        self.words.add(self.talk(question, check, reads_late=True))

    def leave(self, rng):
        """Asks for what takes for ever, and leaves by FIN or by RST."""
        try:
            with self.connect() as stream:
                if rng.random() < 0.5:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                stream.send(b"90\n")
                time.sleep(rng.random() * 0.03)
        except OSError:
            pass

    def finish(self):
        for thread in self.threads:
            thread.join(ANSWER_SECONDS + 30)
            if thread.is_alive():
                raise Wrong("the client itself stands still")
        if self.wrong:
            raise Wrong(self.wrong[0])


def ask(stream, service):
    """One exact request on a connection that should work."""
    try:
        stream.settimeout(ANSWER_SECONDS)
        question, answer = (b"20\n", b"6765\n") if service == "fib" else (b"hello", b"hello")
        stream.sendall(question)
        received = b""
        while len(received) < len(answer):
            chunk = stream.recv(100)
            if not chunk:
                return "an end of the stream"
            received += chunk
        return None if received == answer else repr(received)
    except OSError as error:
        return f"{type(error).__name__}: {error}"


def cell(service, call, error, form):
    """Runs one cell and returns its word and the number of injected errors."""
    name = "write" if call == "eventfd" else call
    when = FORMS[form.removeprefix("start ")]
    if form == "start on" or form == "on" and call in OF_MANY_THREADS:
        when = "1+"
    fault = ["-f", "-e", f"trace={name}", "-e", f"inject={name}:error={error}:when={when}"]
    if call == "eventfd":
        fault += ["-P", "anon_inode:[eventfd]"]
    starts = form.startswith("start")
    server = Server(service, fault if starts else None)
    try:
        word = run_cell(server, service, call, error, form, fault, starts)
        count = server.injected()
        return ("-" if count == 0 and word == "ok" else word), count
    except Wrong as wrong:
        return f"FAIL: {wrong}", server.injected()
    except OSError as broken:
        return f"FAIL: the client could not go on: {broken}", server.injected()
    finally:
        server.close()


def run_cell(server, service, call, error, form, fault, starts):
    if not server.listens():
        word = ended(server)
        if word not in tolerated(call, error, form):
            raise Wrong(word)
        return word
    descriptors, threads = server.descriptors(), server.threads()
    old = socket.create_connection(server.address)
    # One that the server has accepted: both of these make calls, so the fault comes after them.
    if not starts and service == "echo" and (problem := ask(old, service)):
        raise Wrong(f"before any fault: {problem}")
    until(lambda: not server.is_alive() or server.descriptors() > descriptors, 5)
    if not starts:
        server.attach(fault)
    client = Client(server, service, f"{service} {call} {error} {form}")
    # A wake-up that is lost shows only where nothing else wakes the loop soon.
    client.start(1 if call == "eventfd" else 4)
    time.sleep(FAULT_SECONDS + 0.3)
    # Jobs that were given up need a moment; then nothing is to be done but to wait.
    if server.is_alive():
        cpu, calls = server.cpu(), server.injected()
        time.sleep(IDLE_SECONDS)
        spent, repeated = server.cpu() - cpu, server.injected() - calls
    server.detach()
    client.fault_over = time.monotonic()
    words = set()
    # A server that is ending still listens for a moment: what a new connection hears tells.
    problem = "it is dead"
    if not until(lambda: not server.is_alive(), 0.3):
        try:
            with socket.create_connection(server.address, timeout=ANSWER_SECONDS) as new:
                problem = ask(new, service)
        except OSError as failed:
            problem = str(failed)
    if problem and until(lambda: not server.is_alive(), 5):
        words.add(ended(server))
        client.finish()
    else:
        if problem:
            raise Wrong(f"a new connection after the fault: {problem}")
        is_lie = "stall" in tolerated(call, error, form)
        if not is_lie and (spent > IDLE_CPU_SECONDS or repeated > IDLE_CALLS):
            if "spins" not in tolerated(call, error, form):
                raise Wrong(f"spins: {spent * 1000:.0f} ms, {repeated} failed calls in {IDLE_SECONDS} s of idleness")
            words.add("spins")
        client.finish()
        if not starts and (problem := ask(old, service)):
            raise Wrong(f"the connection from before the fault: {problem}")
        old.close()
        words |= client.words - {"ok"}
        back = until(lambda: server.descriptors() <= descriptors and server.threads() <= threads, BACK_SECONDS)
        if not back:
            leak = f"{server.descriptors()} of {descriptors} descriptors, {server.threads()} of {threads} threads"
            if not is_lie and "leak" not in tolerated(call, error, form):
                raise Wrong(f"leak: {leak} after {BACK_SECONDS} s")
            words.add("stall" if is_lie else "leak")
        server.process.send_signal(signal.SIGTERM)
        if not until(lambda: not server.is_alive(), 10):
            raise Wrong("it does not stop when told to")
        if server.process.returncode != 0:
            raise Wrong(f"its stop ended with code {server.process.returncode}: {server.text()[-200:]}")
    if wrong := words - tolerated(call, error, form):
        raise Wrong(", ".join(sorted(wrong)))
    order = ["ends", "aborts", "spins", "leak", "stall", "cut", "refused"]
    return next((word for word in order if word in words), "ok")


def ended(server):
    """The word for a server that has ended by itself; it has to have said why."""
    code, text = server.process.returncode, server.text()
    reason = [line for line in text.splitlines() if "server on" not in line]
    if code == 1 and any(line.startswith("server: ") for line in reason):
        return "ends"
    if code == -signal.SIGABRT:
        return "aborts"
    raise Wrong(f"died with code {code}: {' / '.join(reason)[:160] or 'without a word'}")


def plan():
    """All cells, table by table: title, rows and columns."""
    for service in ("fib", "echo"):
        for call in CALLS:
            for form in FORMS:
                for error in ERRORS:
                    yield "running", service, call, error, form
        for call, errors in SIBLINGS.items():
            for form in FORMS:
                for error in errors.split():
                    yield "siblings", service, call, error, form
    for call in STARTING:
        for form in FORMS:
            for error in ERRORS:
                yield "starting", "fib", call, error, f"start {form}"


WORDS = """\
| word | what happened |
|---|---|
| `ok` | every byte right and in order, no connection lost; afterwards descriptors and threads as before, and exit code 0 when told to stop |
| `cut` | at least one connection ended early, all of its bytes up to there right; all else as `ok` |
| `refused` | at least one request was answered by `error: .. try again later`; all else as `ok` |
| `stall` | at least one connection stood still, because EAGAIN was a lie (see below); all else as `ok` |
| `spins` | the loop turned without a sleep as long as the fault lasted; all else as `ok` |
| `leak` | a descriptor stayed open, because close() was not made (see below) |
| `ends` | the server ended with exit code 1 and a line that says why |
| `aborts` | the process was aborted by the standard library, with its message |
| - | the server does not make this call here |
| **FAIL** | anything else, or a word that this cell may not have; the list below the tables says what |
"""


def tables(results):
    lines = []
    for service in ("fib", "echo"):
        lines += [f"\n### `server {service}`, running\n"]
        lines += ["| call | fails | " + " | ".join(ERRORS) + " |", "|---|---|" + "---|" * len(ERRORS)]
        for call in CALLS:
            for form in FORMS:
                row = [short(results.get(("running", service, call, error, form))) for error in ERRORS]
                lines.append(f"| {call} | {form} | " + " | ".join(row) + " |")
        lines += [f"\n### `server {service}`, siblings\n", "| call, error | first | third | on |", "|---|---|---|---|"]
        for call, errors in SIBLINGS.items():
            for error in errors.split():
                row = [short(results.get(("siblings", service, call, error, form))) for form in FORMS]
                lines.append(f"| {call}, {error} | " + " | ".join(row) + " |")
    lines += ["\n### `server fib`, starting\n"]
    lines += ["| call | fails | " + " | ".join(ERRORS) + " |", "|---|---|" + "---|" * len(ERRORS)]
    for call in STARTING:
        for form in FORMS:
            row = [short(results.get(("starting", "fib", call, error, f"start {form}"))) for error in ERRORS]
            lines.append(f"| {call} | {form} | " + " | ".join(row) + " |")
    failed = [(key, word) for key, (word, _) in results.items() if word.startswith("FAIL")]
    if failed:
        lines += ["\n### Failed\n"]
        groups = {}
        for key, word in failed:
            # A panic's place and thread, and the error's own text, differ from cell to cell.
            reason = re.sub(r" */ thread '.*?' \(\d+\) panicked at \S+: / ", " ", word[6:])
            reason = re.sub(r"(a runtime|for events): .*", r"\1", reason)
            reason = re.sub(r"\d+ ms, \d+ failed", "so many ms and failed", reason)
            groups.setdefault(reason, []).append(" ".join(key[1:]))
        lines += [f"- {len(keys)} cells, such as `{keys[0]}`: {reason}" for reason, keys in groups.items()]
    count = sum(word != "-" for word, _ in results.values())
    injected = sum(count for _, count in results.values())
    lines.insert(0, f"{count} cells with {injected:,} injected errors; {len(failed)} of them failed.")
    return "\n".join(lines) + "\n"


def short(result):
    if result is None:
        return ""
    return "**FAIL**" if result[0].startswith("FAIL") else result[0]


def write(results):
    """Replaces what stands between the marks of FAULTS.md."""
    page = HERE / "FAULTS.md"
    text = page.read_text()
    begin, end = "<!-- words and tables: begin -->\n", "<!-- words and tables: end -->\n"
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    page.write_text(before + begin + WORDS + "\n" + tables(results) + end + after)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("filter", nargs="*", help="only cells that have all of these words")
    parser.add_argument("--write", action="store_true", help="write the tables of FAULTS.md; only without a filter")
    parser.add_argument("--jobs", type=int, default=20, help="cells at a time; they wait most of their time")
    parser.add_argument("--verbose", action="store_true", help="print each cell")
    options = parser.parse_args()
    if not SERVER.exists():
        sys.exit(f"{SERVER} is not there: cargo build --release -p server")
    cells = [key for key in plan() if all(word in " ".join(key).split() for word in options.filter)]
    if not cells or options.write and options.filter:
        parser.error("no such cells" if not cells else "--write takes all cells")
    start, results = time.monotonic(), {}
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        futures = {pool.submit(cell, *key[1:]): key for key in cells}
        try:
            for future in concurrent.futures.as_completed(futures):
                key = futures[future]
                results[key] = future.result()
                word, count = results[key]
                if options.verbose or word.startswith("FAIL"):
                    print(f"{' '.join(key[1:]):60} {word} ({count} injected)", flush=True)
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt waits for the cells that have begun, and for no more
    results = {key: results[key] for key in cells}
    if options.write:
        write(results)
    failed = sum(word.startswith("FAIL") for word, _ in results.values())
    print(f"{len(results)} cells, {failed} failed, {time.monotonic() - start:.0f} s")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
