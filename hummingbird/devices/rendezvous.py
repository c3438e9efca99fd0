"""Lets the processes of a run wait for one another, before JAX connects them.

JAX's client ends the process with a dump if another process does not come, and its server shares a port that is in use.
So the processes meet on the coordinator's port first, where every problem can be reported in one line.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import NamedTuple

from hummingbird.errors import UserError

# Environment variables that describe a run of several processes: `host:port` of process 0, how many, and which.
COORDINATOR, COUNT, PROCESS = "HUMMINGBIRD_COORDINATOR", "HUMMINGBIRD_NUM_PROCESSES", "HUMMINGBIRD_PROCESS_ID"
GREETING = "hummingbird"
ANSWER_TIMEOUT = 5  # seconds for an answer that is a line


class Meeting(NamedTuple):
    """Where the processes meet, and how long they wait.

    Attributes:
      coordinator: host:port of process 0.
      host, port: its two parts.
      count: number of processes.
      timeout: seconds.
      deadline: by `time.monotonic`.
    """

    coordinator: str
    host: str
    port: int
    count: int
    timeout: float
    deadline: float

    def left(self) -> float:
        """Returns the seconds until the deadline."""
        return self.deadline - time.monotonic()


def meet(coordinator: str, count: int, process: int, timeout: float) -> None:
    """Returns once all processes have reached process 0.

    Args:
      coordinator: host:port of process 0.
      count: number of processes.
      process: number of this process.
      timeout: seconds to wait.

    Raises:
      UserError: the address is wrong or in use, or some processes did not come; all that came name the same reason.
    """
    host, colon, port = coordinator.rpartition(":")
    if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
        raise UserError(f"{COORDINATOR}={coordinator} must be host:port of process 0, or auto")
    if count == 1:
        return
    meeting = Meeting(coordinator, host.strip("[]"), int(port), count, timeout, time.monotonic() + timeout)
    if process == 0:
        _gather(meeting)
    else:
        _report(meeting, process)


# ---------------------------------------------------------------- process 0
def _gather(meeting: Meeting) -> None:
    """Waits for all other processes, then tells each that all came, or what went wrong."""
    peers: dict[int, socket.socket] = {}
    fault = ""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(_listen(meeting))
        while len(peers) < meeting.count - 1 and not fault:
            fault = _accept(meeting, listener, peers, sockets)
        for peer in peers.values():
            _answer(peer, fault or GREETING)
            with contextlib.suppress(OSError):
                peer.recv(1)  # the peer hangs up first: then the port is free at once
    if fault:
        raise UserError(fault)


def _listen(meeting: Meeting) -> socket.socket:
    """Opens the port, for IPv6 too where that is possible; UserError if it is in use."""
    try:
        if socket.has_dualstack_ipv6():
            with contextlib.suppress(PermissionError):
                return socket.create_server(("", meeting.port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", meeting.port))
    except OSError as error:
        raise UserError(
            f"{COORDINATOR}={meeting.coordinator}: process 0 cannot listen on port {meeting.port} "
            f"({os.strerror(error.errno or 0)}); end the program that uses it, or choose another port"
        ) from error


def _accept(
    meeting: Meeting, listener: socket.socket, peers: dict[int, socket.socket], sockets: contextlib.ExitStack
) -> str:
    """Waits for one connection and adds it to `peers` if it is a process of the run; returns what is wrong, or ""."""
    left = meeting.left()
    if left <= 0:
        missing = ", ".join(str(i) for i in range(1, meeting.count) if i not in peers)
        return (
            f"processes {missing} of {meeting.count} did not reach {meeting.coordinator} within {meeting.timeout:g} s; "
            f"check their logs, and start all with the same {COORDINATOR}"
        )
    listener.settimeout(left)
    try:
        peer = sockets.enter_context(listener.accept()[0])
        peer.settimeout(ANSWER_TIMEOUT)
        word, number, count = [*_line(peer).split(), "", "", ""][:3]
    except OSError:  # nobody came, or somebody who hung up again
        return ""
    if word != GREETING or not number.isdigit():
        peer.close()  # not a process of a run
        return ""
    fault = ""
    if count != str(meeting.count) or not 0 < int(number) < meeting.count:
        fault = f"process {number} was started with {COUNT}={count}, process 0 with {meeting.count}"
    elif int(number) in peers and not _hung_up(peers[int(number)]):
        fault = f"two processes were started with {PROCESS}={number}"
    if fault:
        _answer(peer, fault)
    else:
        peers[int(number)] = peer
    return fault


def _answer(peer: socket.socket, text: str) -> None:
    """Sends a line, if the other side is still there."""
    with contextlib.suppress(OSError):
        peer.settimeout(ANSWER_TIMEOUT)
        peer.sendall(f"{text}\n".encode())


def _hung_up(peer: socket.socket) -> bool:
    """Returns whether the other side has closed the connection, as a process that is restarted does."""
    peer.settimeout(0)
    try:
        return not peer.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


# ---------------------------------------------------------------- the other processes
def _report(meeting: Meeting, process: int) -> None:
    """Reports to process 0 and waits for its answer; tries again until the deadline."""
    reason = "nobody listens there"
    while meeting.left() > 0:
        try:
            answer = _exchange(meeting, f"{GREETING} {process} {meeting.count}")
            if answer == GREETING:
                return
            if answer.startswith(("process", "two processes")):
                raise UserError(answer)
            reason = "another program answers there" if answer else "it hung up"
        except OSError as error:
            reason = error.strerror or str(error)
        time.sleep(min(0.2, max(0.0, meeting.left())))
    raise UserError(
        f"process {process} of {meeting.count} did not reach process 0 at {meeting.coordinator} within "
        f"{meeting.timeout:g} s ({reason}); check its log, and whether {COORDINATOR} is right"
    )


def _exchange(meeting: Meeting, text: str) -> str:
    """Sends a line to process 0 and returns the line it answers."""
    with socket.create_connection((meeting.host, meeting.port), timeout=meeting.left()) as server:
        server.sendall(f"{text}\n".encode())
        server.settimeout(max(1.0, meeting.left()) + ANSWER_TIMEOUT)  # process 0 reports who is late, so wait for it
        return _line(server)


def _line(peer: socket.socket) -> str:
    """Receives a line."""
    content = b""
    while not content.endswith(b"\n") and len(content) < 1000 and (part := peer.recv(256)):
        content += part
    return content.decode("utf-8", "replace").strip()
