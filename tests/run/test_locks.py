"""Locks between processes: held by one, freed with its owner, waited for, and survivable where there are none."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest

from hummingbird.errors import UserError
from hummingbird.run import locks

HOLDER = """
import sys, time
from hummingbird.run import locks
with locks.hold(sys.argv[1], "busy", "wait"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path/lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"  # noqa: PT018
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.process
def test_a_lock_is_refused_until_its_process_is_killed(tmp_path, holder):
    assert locks.is_held(tmp_path / "lock")
    with (
        pytest.raises(UserError, match=r"^DIR: another run is writing it; choose another folder$"),
        locks.hold(tmp_path / "lock", "DIR: another run is writing it", "choose another folder"),
    ):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not locks.is_held(tmp_path / "lock")
    with locks.hold(tmp_path / "lock", "busy", "wait"):
        assert locks.is_held(tmp_path / "lock")


@pytest.mark.process
def test_waiting_is_announced_and_ends_with_the_holder(tmp_path, holder, caplog):
    def kill_once_announced():
        while "busy; waiting for it" not in caplog.text:
            time.sleep(0.01)
        holder.kill()

    thread = threading.Thread(target=kill_once_announced)
    thread.start()
    with locks.hold(tmp_path / "lock", "busy", "wait", wait=True):
        thread.join()
        assert holder.wait() == -signal.SIGKILL


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_flock_is_no_obstacle(tmp_path, monkeypatch, caplog, code):
    """ENOLCK: NFS without a lock daemon, no exclusion. ENOSYS: Lustre without -o flock, a lock file excludes."""

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # filelock says that it falls back
        with locks.hold(tmp_path / "lock", "busy", "wait"):
            assert locks.is_held(tmp_path / "lock") == (code == errno.ENOSYS)
            assert ("let only one process write here" in caplog.text) == (code == errno.ENOLCK)
        assert not locks.is_held(tmp_path / "lock")


def test_an_unwritable_folder_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), locks.hold(tmp_path / "file" / "lock", "busy", "wait"):
        pass
