"""`hummingbird info`: what a path holds."""

from __future__ import annotations

import dataclasses
import json

from etils import epath

from hummingbird.errors import UserError
from hummingbird.run import checkpoint
from hummingbird.run.files import Json


def list_models(pattern: str | None, as_json: bool) -> str:
    """Returns the encoders that load by name: a table, or one line of JSON.

    Raises:
      UserError: there is none with this pattern.
    """
    from hummingbird.weights import published

    models = published.list_models(pattern or "")
    if not models:
        raise UserError(f"no listed model has {pattern!r} in its name or checkpoint; leave it out to see all of them")
    return json.dumps([dataclasses.asdict(model) for model in models]) if as_json else published.markdown(models)


def describe(path: str, family: str | None = None) -> dict[str, Json]:
    """Describes a training run or a decoder, a memory bank or a weights file.

    Args:
      path: workdir, step folder, bank, weights file or folder, hf: or timm: name, or shipped:photographs.
      family: project that the weights come from; None: detected.

    Returns:
      "kind", "step", "fingerprint", "parameters", "bytes", "config", "versions" and more.

    Raises:
      UserError: the path does not exist or holds none of these, or `family` is given for something of our own.
    """
    from hummingbird import weights
    from hummingbird.weights import hub, shipped

    if hub.is_hub(path) or shipped.is_shipped(path):
        return weights.describe(path, family)
    folder = epath.Path(path)
    if not folder.exists():
        raise UserError(
            f"{path} does not exist; give a training workdir, a step folder, a bank, a weights file or hf:ORG/NAME"
        )
    from hummingbird.retrieval.bank.files import describe_bank, is_bank

    training, bank = checkpoint.is_training(folder), is_bank(path)
    if family and (training or bank):
        raise UserError(f"--family is for weights of other projects; leave it out for {path}")
    if training:
        return describe_run(folder)
    if bank:
        return describe_bank(path)
    return weights.describe(path, family)


def describe_run(path: epath.Path) -> dict[str, Json]:
    """Describes the newest sound step of a training run; loads all arrays, so that the fingerprint is verified."""
    step, manifest, arrays = checkpoint.load_newest(path)
    return {
        "path": str(step),
        "kind": manifest["kind"],
        "step": manifest["step"],
        "fingerprint": manifest["fingerprint"],
        "parameters": manifest["parameters"],
        "init_from": manifest.get("init_from"),
        "config": manifest["config"],
        "versions": manifest["versions"],
        "bytes": sum(x.nbytes for x in arrays.values()),
        "arrays": len(arrays),
        "verified": True,
    }


def shortened(found: dict[str, Json]) -> dict[str, Json]:
    """Leaves out the settings of a training run that have their default values; for people."""
    from hummingbird import config

    settings = found.get("config")
    if found.get("kind") not in checkpoint.KINDS or not isinstance(settings, dict):
        return found
    kind = "pretrain" if found["kind"] == checkpoint.KIND else "finetune"
    defaults = json.loads(json.dumps(config.to_flat(config.resolve(kind))))  # as in the file: tuples are lists
    changed = {key: value for key, value in settings.items() if key not in defaults or value != defaults[key]}
    title = "config, where it differs from the defaults (--json has all of it)"
    return {title if key == "config" else key: changed if key == "config" else value for key, value in found.items()}
