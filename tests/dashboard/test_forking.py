"""A dashboard that was in use before a fork, as of a server that loads the app, tries it, and then forks workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dashboard.shop import fresh, story, write
from tests.patience import PROGRAM_S

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

PREFORK = """
import json, os, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import flovia
from flovia.dashboard import Dashboard, desk, wsgi
from tests.dashboard.shop import SECRET

flo = flovia.Flovia(ledger=sys.argv[1], secret=SECRET)
dashboard = Dashboard(flo)
desks, face = dashboard._desks, dashboard._wsgi
made = []

def slow(kind):
    def make(*args, **named):
        made.append(kind.__name__)
        time.sleep(0.3)  # so that another thread comes meanwhile
        return kind(*args, **named)
    return make

desk.Keeper, threads = slow(desk.Keeper), 8
begin = face._begin
def begin_slowly():
    made.append("loop")
    time.sleep(0.3)
    return begin()
face._begin = begin_slowly

def ask():
    told = []
    environ = {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/api/overview", "QUERY_STRING": "",
        "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost",
        "REMOTE_ADDR": "127.0.0.1", "wsgi.input": None, "wsgi.url_scheme": "http",
    }
    body = b"".join(dashboard.wsgi(environ, lambda status, headers, error=None: told.append(status)))
    return told, json.loads(body)["attempts"]

used = sys.argv[2] == "used"
if used:
    assert ask() == (["200 OK"], 1)
    made.clear()

held, forked = threading.Event(), threading.Event()
def hold():
    with desks._lock, face._lock:
        held.set()
        forked.wait()
holder = threading.Thread(target=hold)
holder.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)  # what waits for a thread of the parent waits for ever
    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(lambda _: ask(), range(threads)))
    assert answers == [(["200 OK"], 1)] * threads, answers
    assert sorted(made) == ["Keeper", "loop"], made
    dashboard.close()
    os._exit(0)
forked.set()
holder.join()
status = os.waitpid(child, 0)[1]
assert status == 0, status
assert ask() == (["200 OK"], 1)
assert len(made) == (0 if used else 2), made
dashboard.close()
flo.close()
print("ok")
"""


@pytest.mark.parametrize("before", ["used", "loaded"])
def test_a_fork_while_a_thread_makes_it_ready(tmp_path: Path, before: str) -> None:
    """The child makes one reader and one loop of its own, however many requests come first at once, and no lock that
    a thread of the parent held keeps it waiting; the parent goes on with what it had.
    """
    url = fresh(tmp_path)
    write(url, story(1, "settle", "deliver"))
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PREFORK, url, before]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_S, check=False)
    assert ("ok\n", "") == (done.stdout, done.stderr)
