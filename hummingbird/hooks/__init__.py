"""What happens beside training: retrieval evaluation and pictures every n steps, a profiler trace."""

from __future__ import annotations

from etils import epath

from hummingbird.config import PretrainConfig
from hummingbird.hooks.online_eval import build_online_eval
from hummingbird.hooks.pictures import build_pictures
from hummingbird.hooks.profiler import Trace
from hummingbird.train import Hook


def build_hooks(config: PretrainConfig, workdir: str) -> tuple[Hook, ...]:
    """The hooks that a pretraining config asks for; bad settings are refused here, before anything is trained."""
    hooks: list[Hook] = []
    if config.online_eval.every:
        hooks.append(build_online_eval(config))
    if config.pictures.every:
        hooks.append(build_pictures(config))
    if config.profile.start:
        hooks.append(Trace(epath.Path(workdir) / "profile", config.profile.start, config.profile.steps))
    return tuple(hooks)
