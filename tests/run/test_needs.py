"""A run says what it will need before it starts."""

import logging
import types

from etils import epath

from hummingbird.run import needs


def test_needs_are_stated_and_a_small_disk_is_warned_of(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=5e9))
    with caplog.at_level(logging.INFO):
        needs.state_needs(epath.Path(tmp_path / "new" / "run"), int(2e9), 2, int(3e9))
    assert "needs up to 4.00 GB" in caplog.text
    assert "2 checkpoints of 2.00 GB) and 3.00 GB of each host's memory" in caplog.text
    assert "has room for" not in caplog.text
    needs.state_needs(epath.Path(tmp_path / "new" / "run"), int(2e9), 4, int(3e9))
    assert f"{tmp_path} has room for 5.00 GB, and the run's checkpoints will take 8.00 GB" in caplog.text
    caplog.clear()
    needs.state_needs(epath.Path("gs://bucket/run"), int(2e9), 4, 0)
    assert "has room for" not in caplog.text
