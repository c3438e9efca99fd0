"""A stand-in for the `hummingbird` command in tests of sweeps: same arguments and files, no work, failures on request.

A run does what its seed says: 666 fails, 777 waits to be stopped and then saves (42), 778 waits to be killed; the two
last ones end well when they are started again.
"""

import json
import os
import pathlib
import signal
import sys
import time


def main(arguments):
    kind, rest = arguments[0], dict(a.removeprefix("--").split("=", 1) for a in arguments[1:])
    workdir = pathlib.Path(rest["workdir"])
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / "starts.txt", "a") as file:
        file.write(json.dumps(rest) + "\n")
    seed = int(rest.get("config.seed", 0))
    print(f"running {kind}", flush=True)
    if seed == 666:
        print("hummingbird: error: bad luck", file=sys.stderr)
        return 2
    if seed in (777, 778) and not (workdir / "saved").exists():
        (workdir / "saved").touch()
        if seed == 777:
            signal.signal(signal.SIGTERM, lambda *_: os._exit(42))
        else:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.kill(os.getpid(), signal.SIGKILL)
        (workdir / "ready").touch()
        time.sleep(60)
    weight = float(rest.get("config.context.weight", rest.get("config.retrieval.temperature", 0.2)))
    if kind == "pretrain":
        (workdir / "metrics.jsonl").write_text(json.dumps({"step": 4, "loss": 2 + weight}) + "\n")
        (workdir / "weight").write_text(str(weight))
    else:
        trained = pathlib.Path(rest["checkpoint"]) / "weight"
        weight = float(trained.read_text()) if trained.exists() else weight
        metrics = {"miou": 50 - 100 * (weight - 0.2) ** 2 + 0.1 * seed, "per_class_iou": {"a": None}}
        content = {"task": "segmentation", "metrics": metrics}
        if kind == "finetune":
            content |= {"seconds": {"steps": 2.5}, "protocol": {"training_images": 7}}
        (workdir / "metrics.json").write_text(json.dumps(content))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
