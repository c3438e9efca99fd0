"""An evaluation by two processes is that of one, to the last digit; what fails in one ends both with its message."""

import json

import pytest

from hummingbird import config, encoder
from hummingbird.retrieval import evaluate
from tests.devices import pair

pytestmark = pytest.mark.process

SMALL = {
    "input_size": 32,
    "batch_size": 2,
    "data.scenes.size": 32,
    "data.scenes.prompt_images": 5,
    "data.scenes.query_images": 3,
    "retrieval.neighbours": 5,
    "retrieval.memory_length": 120,
    "retrieval.augmentation_epochs": 2,
    "report.queries": 2,
    "report.patches": 1,
    "progress": "false",
}
FILE = "configs/evaluate/scenes.py"


def run_two(workdir, repository, changes, checkpoint="rgb:8"):
    """Both processes of one evaluation."""
    flags = [f"--config.{key}={value}" for key, value in {**SMALL, **changes}.items()]
    command = ["-m", "hummingbird", "evaluate", f"--config={FILE}", f"--checkpoint={checkpoint}"]
    return pair.run(repository, *command, f"--workdir={workdir}", *flags)


# {what is shared: settings}; banks kept on disk are added by the test.
SHARED = {
    "the search of parts": {"data.fractions": "0.5", "data.subsets": 2, "retrieval.index": "device"},
    "keys and search": {"retrieval.index": "device", "data.scenes.query_images": 5},  # 3 + 2 batches of one
    "keys of a kept bank": {"retrieval.index": "device"},
    "exact search of parts": {"data.fractions": "0.5", "data.subsets": 2},
    "depth from a kept bank": {
        "data.task": "depth",
        "retrieval.index": "scann",
        "retrieval.scann.leaves": 8,
        "retrieval.scann.leaves_to_search": 8,
    },
}


@pytest.mark.parametrize("shared", [pytest.param(x, marks=[pytest.mark.slow] * (i > 0)) for i, x in enumerate(SHARED)])
def test_two_processes_evaluate_as_one(shared, tmp_path, repository):
    changes = SHARED[shared] | ({"retrieval.bank": str(tmp_path / "bank")} if "bank" in shared else {})
    if shared == "keys and search":
        changes["batch_size"] = 1
    found = run_two(tmp_path / "two", repository, changes)
    assert [status for status, *_ in found] == [0, 0], found
    printed = [output.splitlines()[-1] for _, output, _ in found]
    assert printed[0] == printed[1]  # both know the result
    pairs = [(key, str(value)) for key, value in {**SMALL, **changes}.items()]
    alone = evaluate(encoder.load_encoder("rgb:8"), config.resolve("evaluate", FILE, pairs), str(tmp_path / "one"))
    result = json.loads((tmp_path / "two" / "metrics.json").read_text())
    for key in ("metrics", "fractions", "protocol", "queries"):
        assert result.get(key) == json.loads(json.dumps(alone.get(key)))
    assert result["index"]["kind"] == alone["index"]["kind"]
    if "bank" in shared:  # the bank that the two wrote has served the one, and so has the index where there is ScaNN
        assert "load_bank" in alone["seconds"]
        assert len(list((tmp_path / "bank").glob("index-*"))) == (alone["memory"]["index"] == "scann")
    else:
        assert result["memory"]["length"] == alone["memory"]["length"]
    assert (tmp_path / "two" / "report.html").stat().st_size > 1000


def test_what_fails_in_one_process_ends_all_with_one_line(tmp_path, repository):
    (tmp_path / "two").touch()  # no folder can be made there
    found = run_two(tmp_path / "two", repository, {})
    assert [status for status, *_ in found] == [2, 2], found
    for _, _, error in found:
        assert "cannot be written" in error
        assert "Traceback" not in error
