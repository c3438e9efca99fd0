"""From a sweep to a plan: every run checked, named by what differs, split into tasks and grouped into jobs."""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hummingbird import config
from hummingbird.errors import UserError
from hummingbird.sweep.plan import Pairs, Plan, Run, Task, settings_key
from hummingbird.sweep.spec import Sweep

SPECIAL = ("name", "checkpoint")  # keys of a point that are no settings
LONGEST_NAME = 100
# Settings by which banks differ that are cut from one encoding of the prompt.
CUT = r"retrieval\.(memory_length|augmentation_epochs)$"
# Settings that change how a bank is searched and shown, not what is encoded into it.
SEARCH_ONLY = (
    r"retrieval\.(neighbours|temperature|index|metric_resolution|recall_queries|scann\..*)$"
    r"|report\.|progress$|data\.max_queries$|depth\.eigen_crop$"
)


def build_plan(
    sweep: Sweep,
    config_path: str,
    overrides: Sequence[tuple[str, str]],
    checkpoint: str | None,
    workdir: str,
    old: Plan | None = None,
) -> Plan:
    """Checks every run of a sweep and plans its tasks; nothing is written.

    Args:
      overrides: pairs of key and text, the same for all runs.
      checkpoint: the encoder of an evaluation sweep.
      workdir: the sweep's workdir; evaluations find the checkpoints under it.
      old: the plan of an earlier call, whose names are kept, so that a growing sweep keeps its folders.

    Raises:
      UserError: an unknown key, a value out of range, a key both swept and fixed, or two equal runs.
    """
    swept = {key for point in sweep.points for key in point}
    for key, _ in overrides:
        if key in swept:
            raise UserError(f"--config.{key} fixes a key that the sweep varies; remove one of the two")
    if sweep.job == "evaluate" and sweep.evaluate:
        raise UserError("sweep: evaluate=... follows a pretraining; in an evaluation sweep --config is the evaluation")
    if sweep.job == "pretrain" and (checkpoint or "checkpoint" in swept):
        raise UserError("a sweep of pretraining takes no checkpoint")
    texts = [{key: as_text(value) for key, value in point.items()} for point in sweep.points]
    names = name_runs(texts, {settings_key(run.settings): run.name for run in old.runs} if old else {})
    reference: dict[str, Any] = {"run": old.reference["run"] if old else settings_key(texts[0])}

    runs: list[Run] = []
    tasks: dict[str, Task] = {}
    jobs: dict[str, list[str]] = {}
    seen: dict[str, str] = {}
    owners: dict[str, str] = {}  # pretraining, as resolved -> its task
    cuts: dict[str, str] = {}  # evaluation -> what its bank depends on
    sharing: dict[str, list[str]] = {}  # what an encoding of the prompt depends on -> evaluations
    for name, text in zip(names, texts, strict=True):
        settings = {key: value for key, value in text.items() if key != "name"}
        try:
            stages = _stages(sweep, config_path, overrides, checkpoint, text)
            resolved = {
                task.id: config.to_flat(config.resolve(task.kind, task.config, task.overrides)) for task in stages
            }
        except UserError as error:
            raise UserError(f"sweep run {name}: {error}") from None
        signature = _digest(resolved, [task.checkpoint for task in stages])
        if signature in seen:
            raise UserError(f"sweep runs {seen[signature]} and {name} are the same; remove one")
        seen[signature] = name
        if settings_key(settings) == reference["run"]:
            reference["settings"] = json.loads(json.dumps(resolved))
        ids: dict[str, str] = {}
        for task in stages:
            id = f"{name}/{task.id}"
            if task.kind == "pretrain":
                id = owners.setdefault(_digest(resolved[task.id]), id)
            elif "pretrain" in ids:
                task = dataclasses.replace(task, checkpoint=f"{workdir}/runs/{ids['pretrain']}")
            ids[task.id] = id
            if id in tasks:
                continue
            tasks[id] = dataclasses.replace(task, id=id)
            first = id
            if task.kind == "evaluate":
                cut = {k: v for k, v in resolved[task.id].items() if not re.match(SEARCH_ONLY, k)}
                cuts[id] = _digest(cut)
                # An augmented prompt and one as it is are two encodings.
                encoded = {k: v if not re.match(CUT, k) else v == 0 for k, v in cut.items()}
                together = sharing.setdefault(_digest(encoded, task.checkpoint), [])
                together.append(id)
                first = together[0]
            jobs.setdefault(ids.get("pretrain", first), []).append(id)
        runs.append(Run(name, text.get("name", ""), settings, ids))
    for digest, together in sharing.items():
        # Two or more evaluations of the same encoded prompt: it is encoded once, into a bank that all of them use.
        if len(together) > 1 and not any(key == "retrieval.bank" for key, _ in tasks[together[0]].overrides):
            for id in together:
                several = len({cuts[other] for other in together}) > 1
                tasks[id] = dataclasses.replace(tasks[id], bank=f"{workdir}/banks/{digest}", cut=several)
    identity = {
        "job": sweep.job,
        "config": os.path.normpath(config_path),
        "overrides": [list(pair) for pair in overrides],
        "evaluate": dict(sweep.evaluate),
        "checkpoint": checkpoint or sweep.checkpoint,
    }
    return Plan(
        identity, reference, runs, tasks, list(jobs.values()), sweep.objective, sweep.maximise, list(sweep.repeat)
    )


def _stages(
    sweep: Sweep, config_path: str, overrides: Sequence[tuple[str, str]], checkpoint: str | None, text: dict[str, str]
) -> list[Task]:
    """The tasks of one run, named by stage alone; evaluations of a pretraining have no checkpoint yet."""
    pairs = [*overrides, *((key, value) for key, value in text.items() if key not in SPECIAL)]
    if sweep.job == "evaluate":
        found = text.get("checkpoint") or checkpoint or sweep.checkpoint
        if not found:
            raise UserError("no encoder: give --checkpoint=PATH, or 'checkpoint' in the sweep file")
        return [Task("evaluate", "evaluate", config_path, pairs, found)]
    own, theirs = split_pairs(pairs, list(sweep.evaluate))
    evaluations = [Task(name, "evaluate", path, theirs[name]) for name, path in sweep.evaluate.items()]
    return [Task("pretrain", "pretrain", config_path, own), *evaluations]


def _digest(*content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def split_pairs(pairs: Pairs, evaluations: Sequence[str]) -> tuple[Pairs, dict[str, Pairs]]:
    """Settings of the pretraining, and of each evaluation: "evaluate.KEY" for all, "evaluate.NAME.KEY" for one."""
    groups = {key.partition(".")[0] for key in config.declared("evaluate")} | {"pretrain"}
    for name in evaluations:
        if name in groups or not re.fullmatch(r"[\w-]+", name):
            raise UserError(f"sweep: an evaluation cannot be called {name!r}; choose a short word that is no setting")
    own: Pairs = []
    theirs: dict[str, Pairs] = {name: [] for name in evaluations}
    for key, value in pairs:
        if not key.startswith("evaluate."):
            own.append((key, value))
            continue
        head, _, rest = key.removeprefix("evaluate.").partition(".")
        if not evaluations:
            raise UserError(f"config key {key}: the sweep file names no evaluation")
        for name in [head] if head in theirs else evaluations:
            theirs[name].append((rest if head in theirs else key.removeprefix("evaluate."), value))
    return own, theirs


def as_text(value: Any) -> str:
    """A value of a point as it is typed on the command line."""
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays
        value = value.tolist()
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(as_text(v) for v in value)
    return str(value)


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Each dotted key's shortest ending that no other key of the sweep shares: context.weight -> weight."""
    short = {}
    for key in keys:
        parts = key.split(".")
        endings = [".".join(parts[i:]) for i in range(len(parts) - 1, -1, -1)]
        short[key] = next(
            (e for e in endings if not any(k != key and (k == e or k.endswith("." + e)) for k in keys)), key
        )
    return short


def varying(texts: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys that are not the same in all points, in order of appearance; all keys if that leaves none."""
    keys = list(dict.fromkeys(key for text in texts for key in text))
    return [key for key in keys if len({text.get(key) for text in texts}) > 1] or keys


def name_runs(texts: Sequence[Mapping[str, str]], known: Mapping[str, str]) -> list[str]:
    """A folder name for each point: its own "name", or what differs, as in weight=0.2,seed=1."""
    keys = [key for key in varying(texts) if key != "name"]
    short = short_keys(keys)
    names: list[str] = []
    for text in texts:
        key = settings_key(text)
        alike = [t for t in texts if t.get("name") == text.get("name")]
        shown = keys if "name" not in text else [k for k in keys if len({t.get(k) for t in alike}) > 1]
        parts = [f"{short[k]}={text[k].rstrip('/').rpartition('/')[2]}" for k in shown if k in text]
        name = ",".join([*([text["name"]] if "name" in text else []), *parts]) or "run"
        name = re.sub(r"[^\w.+=,\[\]-]+", "-", name).strip("-.") or "run"
        mark = hashlib.sha256(key.encode()).hexdigest()[:6]
        if len(name) > LONGEST_NAME:
            name = f"{name[: LONGEST_NAME - 7]}-{mark}"
        name = known.get(key, name)
        names.append(f"{name}-{mark}" if name in names else name)
    return names
