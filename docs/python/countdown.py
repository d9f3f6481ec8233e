"""How do three functions run at the same time on one thread?

In turns: a generator stops at each `yield`, and `next` lets it go on.

A twin of the talk's example, written for comparison. The talk's own programs: github.com/dabeaz/concurrencylive

    python3 countdown.py
"""

from collections import deque


def countdown(start):
    n = start
    while n > 0:
        yield n
        n -= 1
    return start


def run(tasks):
    print("in Python:", end="")
    while tasks:
        task = tasks.popleft()
        try:
            print("", next(task), end="")
            tasks.append(task)
        except StopIteration as stop:
            print(f" ({stop.value} is done)", end="")
    print()


run(deque([countdown(10), countdown(5), countdown(20)]))
