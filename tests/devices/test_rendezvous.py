"""Processes wait for one another; whatever goes wrong is reported in one line by all that came."""

import socket
import threading

from hummingbird.devices import rendezvous
from hummingbird.devices.rendezvous import meet
from hummingbird.errors import UserError
from tests.devices.ports import free_port


def together(*calls):
    """Calls `meet` with each of `calls` at the same time; returns the errors, "" for those that return."""
    said = [None] * len(calls)

    def run(i, call):
        try:
            meet(*call)
            said[i] = ""
        except UserError as error:
            said[i] = str(error)

    threads = [threading.Thread(target=run, args=(i, call)) for i, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    return said


def test_processes_meet_in_any_order_and_free_the_port():
    for count in (1, 2, 5):
        port = free_port()
        assert together(*((f"127.0.0.1:{port}", count, i, 10) for i in reversed(range(count)))) == [""] * count
        socket.create_server(("", port)).close()


def test_missing_processes_are_named_to_all_others():
    where = f"127.0.0.1:{free_port()}"
    for said in together(*((where, 5, i, 1) for i in (0, 1, 3))):
        assert f"processes 2, 4 of 5 did not reach {where} within 1 s" in said


def test_a_missing_coordinator_is_named():
    where = f"127.0.0.1:{free_port()}"
    assert f"did not reach process 0 at {where} within 1 s (Connection refused)" in together((where, 2, 1, 1))[0]


def test_a_port_in_use_is_named_and_is_not_process_0(monkeypatch):
    monkeypatch.setattr(rendezvous, "ANSWER_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        zero, one = together((where, 2, 0, 1), (where, 2, 1, 1))
    assert f"cannot listen on port {where.partition(':')[2]} (Address already in use)" in zero
    assert "did not reach process 0" in one


def test_processes_of_different_runs_are_refused():
    where = f"127.0.0.1:{free_port()}"
    zero, one = together((where, 2, 0, 5), (where, 3, 1, 5))
    assert zero == one == "process 1 was started with HUMMINGBIRD_NUM_PROCESSES=3, process 0 with 2"
    where = f"127.0.0.1:{free_port()}"
    zero, *_ = together((where, 3, 0, 5), (where, 3, 1, 5), (where, 3, 1, 5))
    assert zero == "two processes were started with HUMMINGBIRD_PROCESS_ID=1"
