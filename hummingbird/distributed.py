"""Joins the processes of a run on several hosts into one JAX program."""

from __future__ import annotations

import os

import jax

from hummingbird.errors import UserError

VARIABLES = ("HUMMINGBIRD_COORDINATOR", "HUMMINGBIRD_NUM_PROCESSES", "HUMMINGBIRD_PROCESS_ID")
# Set by the clusters that JAX recognises by itself, where more than one process may run.
CLUSTERS = ("TPU_WORKER_HOSTNAMES", "MEGASCALE_COORDINATOR_ADDRESS", "SLURM_JOB_NUM_NODES", "OMPI_MCA_orte_hnp_uri")
TIMEOUT = 300  # seconds to wait for the other processes


def initialize() -> None:
    """Connects to the other processes, if the environment says that there are any.

    Reads HUMMINGBIRD_COORDINATOR (host:port of process 0), HUMMINGBIRD_NUM_PROCESSES and HUMMINGBIRD_PROCESS_ID; on
    Cloud TPU pods, SLURM and Open MPI JAX finds the cluster itself: always with HUMMINGBIRD_COORDINATOR=auto alone (a
    TPU VM need not name the other hosts in its environment, nor a SLURM node its tasks), else where it looks like one.

    Raises:
      UserError: the variables are incomplete, or the other processes did not come.
    """
    given = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    if given == {VARIABLES[0]: "auto"}:
        jax.distributed.initialize()
        return
    if not given:
        if any(_several(os.environ.get(name, "")) for name in CLUSTERS):
            jax.distributed.initialize()
        return
    missing = [name for name in VARIABLES if name not in given]
    if missing:
        raise UserError(f"{', '.join(given)} is set but {', '.join(missing)} is not; set all three or none")
    coordinator, count, process = (given[name] for name in VARIABLES)
    if not (count.isdigit() and process.isdigit() and int(process) < int(count)):
        raise UserError(f"{VARIABLES[2]}={process} must be a number below {VARIABLES[1]}={count}")
    try:
        jax.distributed.initialize(coordinator, int(count), int(process), initialization_timeout=TIMEOUT)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"process {process} of {count} could not join {coordinator}: {reason}") from error


def _several(value: str) -> bool:
    """Whether a cluster's variable speaks of more than one host."""
    return "," in value or (value.isdigit() and int(value) > 1) or ":" in value
