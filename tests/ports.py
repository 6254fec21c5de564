"""Ports for programs that want to be told which; without flovia, for programs that run before it is installed."""

import random
import socket


def chosen_port() -> int:
    """A port of loopback that is free, for a program that wants to be told which.

    Not one of those that systems hand out by themselves: such a one may be somebody else's before the program has it.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 30_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
