"""Joins the processes of a run on several hosts into one JAX program."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import jax

from hummingbird.devices.rendezvous import COORDINATOR, COUNT, PROCESS, meet
from hummingbird.errors import UserError, first_line

VARIABLES = (COORDINATOR, COUNT, PROCESS)
# Set by the clusters that JAX recognises by itself, where more than one process may run.
CLUSTERS = ("TPU_WORKER_HOSTNAMES", "MEGASCALE_COORDINATOR_ADDRESS", "SLURM_JOB_NUM_NODES", "OMPI_MCA_orte_hnp_uri")
# Seconds to wait for the other processes: the machines of a pod start minutes apart.
JOIN_TIMEOUT = ("HUMMINGBIRD_JOIN_TIMEOUT", 300)
# Seconds without a heartbeat after which a process counts as dead and all others end; JAX's default is 100. Heartbeats
# come from a thread that needs no Python, so only a machine that is gone or frozen misses them.
HEARTBEAT_TIMEOUT = ("HUMMINGBIRD_HEARTBEAT_TIMEOUT", 60)


def initialize() -> None:
    """Connects to the other processes, if the environment says that there are any.

    Reads HUMMINGBIRD_COORDINATOR (host:port of process 0), HUMMINGBIRD_NUM_PROCESSES and HUMMINGBIRD_PROCESS_ID. On
    Cloud TPU pods, SLURM and Open MPI, JAX finds the cluster itself: always with HUMMINGBIRD_COORDINATOR=auto alone,
    else if the environment names several hosts (a TPU VM need not name the others, nor a SLURM node its tasks).
    HUMMINGBIRD_JOIN_TIMEOUT bounds the wait for processes that do not come, and HUMMINGBIRD_HEARTBEAT_TIMEOUT the wait
    for one that has died, both in seconds; all others then end with a status other than 0.

    Raises:
      UserError: the variables are incomplete, the coordinator's port is in use, or processes did not come in time.
    """
    join, heartbeat = _seconds(*JOIN_TIMEOUT), _seconds(*HEARTBEAT_TIMEOUT)
    connect = functools.partial(
        jax.distributed.initialize,
        initialization_timeout=join,
        heartbeat_timeout_seconds=heartbeat,
        shutdown_timeout_seconds=heartbeat,
    )
    given = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    if given == {COORDINATOR: "auto"}:
        _join_cluster(connect, COORDINATOR)
        return
    if not given:
        named = [name for name in CLUSTERS if _names_several_hosts(os.environ.get(name, ""))]
        if named:
            _join_cluster(connect, named[0])
        return
    missing = [name for name in VARIABLES if name not in given]
    if missing:
        raise UserError(f"{', '.join(given)} is set but {', '.join(missing)} is not; set all three or none")
    coordinator, count, process = (given[name] for name in VARIABLES)
    if not (count.isdigit() and process.isdigit() and int(process) < int(count)):
        raise UserError(f"{PROCESS}={process} must be a number below {COUNT}={count}")
    meet(coordinator, int(count), int(process), join)
    try:
        connect(coordinator, int(count), int(process))
    except RuntimeError as error:
        reason = first_line(error)
        raise UserError(f"process {process} of {count} could not join {coordinator}: {reason}") from error


def _join_cluster(connect: Callable[[], None], name: str) -> None:
    """Connects to the processes that JAX finds by the environment; `name` is the variable that says there are any."""
    try:
        connect()
    except (KeyError, RuntimeError, ValueError) as error:  # schedulers may set a part of what JAX reads
        raise UserError(
            f"{name}={os.environ[name]} stands for several processes, but JAX cannot join them ({first_line(error)}); "
            f"start the command on all hosts by the scheduler (srun, mpirun), or unset {name} to run on this one"
        ) from error


def _seconds(name: str, default: int) -> int:
    """Reads a duration from the environment."""
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or not int(text):
        raise UserError(f"{name}={text} must be a whole number of seconds")
    return int(text)


def _names_several_hosts(value: str) -> bool:
    """Returns whether a cluster's variable is a list, a number above 1, or an address."""
    return "," in value or (value.isdigit() and int(value) > 1) or ":" in value
