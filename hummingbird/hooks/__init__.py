"""What runs alongside training: retrieval evaluation, pictures, a profiler trace."""

from __future__ import annotations

from etils import epath

from hummingbird.config import PretrainConfig
from hummingbird.hooks.online_eval import build_evaluators, build_online_eval
from hummingbird.hooks.pictures import build_pictures
from hummingbird.hooks.profiler import Trace
from hummingbird.hooks.tolerant import Tolerant
from hummingbird.train import Hook


def build_hooks(config: PretrainConfig, workdir: str) -> tuple[Hook, ...]:
    """Builds the hooks that a pretraining config enables. A hook that fails later does not end the run.

    Args:
      config: reads `online_eval`, `evaluators`, `pictures` and `profile`.
      workdir: gets the profiler trace.

    Raises:
      UserError: a setting of a hook is wrong.
    """
    hooks: list[Hook] = []
    if config.online_eval.every:
        hooks.append(Tolerant(build_online_eval(config), "online evaluation", config.online_eval.every))
    for hook in build_evaluators(config):
        hooks.append(Tolerant(hook, hook.name.replace("eval_", "evaluation "), hook.every))
    if config.pictures.every:
        hooks.append(Tolerant(build_pictures(config), "pictures", config.pictures.every))
    if config.profile.start:
        trace = Trace(epath.Path(workdir) / "profile", config.profile.start, config.profile.steps)
        hooks.append(Tolerant(trace, "profiler trace"))
    return tuple(hooks)
