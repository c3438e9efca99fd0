"""`hummingbird info`: what a path holds."""

from __future__ import annotations

from typing import Any

from etils import epath

from hummingbird.errors import UserError
from hummingbird.run import checkpoint


def describe(path: str, family: str | None = None) -> dict[str, Any]:
    """{"kind", "step", "fingerprint", "parameters", "bytes", "config", "versions", ...} of a run, bank or weights file.

    Args:
      path: what to look at.
      family: of another project's weights, whose they are; None: recognised.

    Raises:
      UserError: nothing is there, or it is none of these; a family for what is not another project's.
    """
    folder = epath.Path(path)
    if not folder.exists():
        raise UserError(f"{path} does not exist; give a training workdir, a step folder, a bank or a weights file")
    from hummingbird.retrieval.bank.files import describe_bank, is_bank

    training = checkpoint.is_training(folder)
    if family and (training or is_bank(path)):
        raise UserError(f"--family is for weights of other projects; leave it out for {path}")
    if training:
        step, manifest, arrays = checkpoint.load_newest(folder)  # all of it: the fingerprint is verified, not quoted
        shown = {key: manifest[key] for key in ("kind", "step", "fingerprint", "parameters", "config", "versions")}
        size = sum(x.nbytes for x in arrays.values())
        return {"path": str(step), **shown, "bytes": size, "arrays": len(arrays), "verified": True}
    if is_bank(path):
        return describe_bank(path)
    from hummingbird import weights

    return weights.describe(path, family)
