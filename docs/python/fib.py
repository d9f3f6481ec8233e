"""What do all servers of the talk compute?

The Fibonacci numbers, by the slowest way there is.

A twin of docs/fib.rs, written for comparison. The talk's own programs: github.com/dabeaz/concurrencylive
"""


def fib(n):
    return 1 if n <= 2 else fib(n - 1) + fib(n - 2)
