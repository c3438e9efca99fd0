"""Joins the processes of a run on several hosts into one JAX program."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Any

import jax

from hummingbird.errors import UserError

VARIABLES = ("HUMMINGBIRD_COORDINATOR", "HUMMINGBIRD_NUM_PROCESSES", "HUMMINGBIRD_PROCESS_ID")
# Set by the clusters that JAX recognises by itself, where more than one process may run.
CLUSTERS = ("TPU_WORKER_HOSTNAMES", "MEGASCALE_COORDINATOR_ADDRESS", "SLURM_JOB_NUM_NODES", "OMPI_MCA_orte_hnp_uri")
JOIN = (
    "HUMMINGBIRD_JOIN_TIMEOUT",
    300,
)  # seconds to wait for the other processes: machines of a pod start minutes apart
# Seconds without a sign of life after which a process is dead and all others end. The signs come from a thread that
# needs no Python, so only a machine that is gone or frozen misses them; JAX's own 100 would cost a pod that much more.
HEARTBEAT = ("HUMMINGBIRD_HEARTBEAT_TIMEOUT", 60)
GREETING = "hummingbird"


def initialize() -> None:
    """Connects to the other processes, if the environment says that there are any.

    Reads HUMMINGBIRD_COORDINATOR (host:port of process 0), HUMMINGBIRD_NUM_PROCESSES and HUMMINGBIRD_PROCESS_ID; on
    Cloud TPU pods, SLURM and Open MPI JAX finds the cluster itself: always with HUMMINGBIRD_COORDINATOR=auto alone (a
    TPU VM need not name the other hosts in its environment, nor a SLURM node its tasks), else where it looks like one.
    HUMMINGBIRD_JOIN_TIMEOUT and HUMMINGBIRD_HEARTBEAT_TIMEOUT (seconds) bound the waiting for processes that do not
    come, and for one that has died: then all others end with a status other than 0.

    Raises:
      UserError: the variables are incomplete, the coordinator's port is taken, or processes, which are named, did not
        come in time.
    """
    bounds: dict[str, Any] = {
        "initialization_timeout": _seconds(*JOIN),
        "heartbeat_timeout_seconds": _seconds(*HEARTBEAT),
        "shutdown_timeout_seconds": _seconds(*HEARTBEAT),
    }
    given = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    if given == {VARIABLES[0]: "auto"}:
        jax.distributed.initialize(**bounds)
        return
    if not given:
        if any(_several(os.environ.get(name, "")) for name in CLUSTERS):
            jax.distributed.initialize(**bounds)
        return
    missing = [name for name in VARIABLES if name not in given]
    if missing:
        raise UserError(f"{', '.join(given)} is set but {', '.join(missing)} is not; set all three or none")
    coordinator, count, process = (given[name] for name in VARIABLES)
    if not (count.isdigit() and process.isdigit() and int(process) < int(count)):
        raise UserError(f"{VARIABLES[2]}={process} must be a number below {VARIABLES[1]}={count}")
    meet(coordinator, int(count), int(process), _seconds(*JOIN))
    try:
        jax.distributed.initialize(coordinator, int(count), int(process), **bounds)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"process {process} of {count} could not join {coordinator}: {reason}") from error


def _seconds(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or not int(text):
        raise UserError(f"{name}={text} must be a whole number of seconds")
    return int(text)


def _several(value: str) -> bool:
    """Whether a cluster's variable speaks of more than one host."""
    return "," in value or (value.isdigit() and int(value) > 1) or ":" in value


# ---------------------------------------------------------------- waiting for one another
# JAX's client ends the process with a dump when somebody does not come, and its server shares a port that is taken. So
# the processes meet on the coordinator's port first, where one can say in a line what is wrong.
def meet(coordinator: str, count: int, process: int, timeout: float) -> None:
    """Returns once all processes have come to process 0.

    Raises:
      UserError: in every process that came: the address is wrong or taken, or which processes did not come.
    """
    host, colon, port = coordinator.rpartition(":")
    if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
        raise UserError(f"{VARIABLES[0]}={coordinator} must be host:port of process 0, or auto")
    if count == 1:
        return
    deadline = time.monotonic() + timeout
    if process == 0:
        _receive_all(coordinator, int(port), count, deadline, timeout)
    else:
        _report(coordinator, (host.strip("[]"), int(port)), count, process, deadline, timeout)


def _receive_all(coordinator: str, port: int, count: int, deadline: float, timeout: float) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listen(coordinator, port))
        here: dict[int, socket.socket] = {}
        fault = ""
        while len(here) < count - 1 and not fault:
            left = deadline - time.monotonic()
            if left <= 0:
                missing = ", ".join(str(i) for i in range(1, count) if i not in here)
                fault = (
                    f"processes {missing} of {count} did not come to {coordinator} within {timeout:g} s; look at their "
                    f"logs, and start all with the same {VARIABLES[0]}"
                )
                break
            listener.settimeout(left)
            with contextlib.suppress(OSError):  # nobody, or somebody who went again
                peer = stack.enter_context(listener.accept()[0])
                peer.settimeout(5)
                word, number, of = [*_line(peer).split(), "", "", ""][:3]
                if word != GREETING or not number.isdigit():
                    peer.close()  # not one of ours
                elif of != str(count) or not 0 < int(number) < count:
                    fault = f"process {number} was started with {VARIABLES[1]}={of}, process 0 with {count}"
                elif int(number) in here and not _gone(here[int(number)]):
                    fault = f"two processes were started with {VARIABLES[2]}={number}"
                else:
                    here[int(number)] = peer
                if fault:
                    peer.sendall(f"{fault}\n".encode())
        for peer in here.values():
            with contextlib.suppress(OSError):
                peer.sendall(f"{fault or GREETING}\n".encode())
                peer.settimeout(5)
                peer.recv(1)  # they hang up first: then the port is free at once
    if fault:
        raise UserError(fault)


def _listen(coordinator: str, port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            with contextlib.suppress(PermissionError):
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise UserError(
            f"{VARIABLES[0]}={coordinator}: process 0 cannot listen on port {port} ({reason}); end the program that "
            "uses it, or choose another port"
        ) from error


def _report(
    coordinator: str, address: tuple[str, int], count: int, process: int, deadline: float, timeout: float
) -> None:
    what = "nobody listens there"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection(address, timeout=left) as server:
                server.sendall(f"{GREETING} {process} {count}\n".encode())
                server.settimeout(max(1.0, deadline - time.monotonic()) + 5)  # process 0 is the one to say who is late
                answer = _line(server)
            if answer == GREETING:
                return
            if answer.startswith(("process", "two processes")):
                raise UserError(answer)
            what = "something else answers there" if answer else "it hung up"
        except OSError as error:
            what = error.strerror or str(error)
        time.sleep(min(0.2, max(0.0, deadline - time.monotonic())))
    raise UserError(
        f"process {process} of {count} did not reach process 0 at {coordinator} within {timeout:g} s ({what}); look at "
        f"its log, and whether {VARIABLES[0]} is right"
    )


def _line(peer: socket.socket) -> str:
    content = b""
    while not content.endswith(b"\n") and len(content) < 1000 and (part := peer.recv(256)):
        content += part
    return content.decode("utf-8", "replace").strip()


def _gone(peer: socket.socket) -> bool:
    """Whether the other side has hung up: it was started again."""
    peer.settimeout(0)
    try:
        return not peer.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
