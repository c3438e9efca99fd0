"""From a sweep file to a schedule: every run is checked, named, split into commands and grouped into jobs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hummingbird import config
from hummingbird.config.images import WHOLE_IMAGE
from hummingbird.config.sequences import SEQUENCES
from hummingbird.errors import UserError
from hummingbird.run.files import Json
from hummingbird.sweep.names import as_text, name_runs
from hummingbird.sweep.schedule import Command, Identity, Pairs, Reference, Run, Schedule, settings_key
from hummingbird.sweep.spec import Sweep

SPECIAL = ("name", "checkpoint", "stages")  # keys of a point that are not settings
NAMED = {"evaluate": "an evaluation", "finetune": "a decoder"}  # kinds of stages that a sweep names
# Settings in which banks may differ that are cut from one encoding of the prompt.
CUT = r"retrieval\.(memory_length|augmentation_epochs)$"
# Settings that change how a bank is searched and shown, not what is encoded into it.
SEARCH_ONLY = (
    r"retrieval\.(neighbours|temperature|index|device_recall|metric_resolution|recall_queries|scann\..*)$"
    r"|report\.|progress$|data\.max_queries$|depth\.eigen_crop$"
)
# The same for whole images, whose features are kept.
CLASSIFIER_ONLY = (
    r"images\.(classifiers|metric|neighbours|vote_\w+|logistic\..*|linear\..*|attentive\..*|validation|shots|draws?|renormalise)$"
    r"|features\.pca$|retrieval\.|report\.|progress$"
)

Resolved = dict[str, dict[str, Json]]  # stage -> key -> value


def build_schedule(
    sweep: Sweep,
    config_path: str | None,
    overrides: Sequence[tuple[str, str]],
    checkpoint: str | None,
    folder: str,
    old: Schedule | None = None,
) -> Schedule:
    """Checks every run of a sweep and schedules its commands. Writes nothing.

    Args:
      sweep: what the sweep file returned.
      config_path: config of all runs; None for sweeps without pretraining that name their evaluations and decoders.
      overrides: pairs of key and text, the same for all runs.
      checkpoint: the encoder of a sweep without pretraining.
      folder: the sweep's folder, which will hold the checkpoints.
      old: schedule of an earlier call; its names are kept, so that a growing sweep keeps its folders.

    Raises:
      UserError: an unknown key, a value out of range, a key both swept and fixed, or two equal runs.
    """
    check_sweep(sweep, config_path, overrides, checkpoint)
    points = [{key: as_text(value) for key, value in point.items()} for point in sweep.points]
    names = name_runs(points, {settings_key(run.settings): run.name for run in old.runs} if old else {})
    reference: Reference = {"run": old.reference["run"] if old else settings_key(points[0]), "settings": {}}
    builder = Builder(folder)
    runs, equal = [], dict[str, str]()
    for name, point in zip(names, points, strict=True):
        try:
            stages = stage_commands(sweep, config_path, overrides, checkpoint, point)
            resolved = {stage.id: resolve(stage) for stage in stages}
        except UserError as error:
            raise UserError(f"sweep run {name}: {error}") from None
        other = equal.setdefault(digest(resolved, [stage.checkpoint for stage in stages]), name)
        if other != name:
            raise UserError(f"sweep runs {other} and {name} are the same; remove one")
        settings = {key: value for key, value in point.items() if key != "name"}
        if settings_key(settings) == reference["run"]:
            reference["settings"] = resolved
        runs.append(Run(name, point.get("name", ""), settings, builder.add(name, stages, resolved)))
    identity: Identity = {
        "job": sweep.job,
        "config": os.path.normpath(config_path) if config_path else "",
        "overrides": [list(pair) for pair in overrides],
        "evaluate": dict(sweep.evaluate),
        "finetune": dict(sweep.finetune),
        "checkpoint": checkpoint or sweep.checkpoint,
    }
    return Schedule(
        identity=identity,
        reference=reference,
        runs=runs,
        commands=builder.with_banks(),
        jobs=list(builder.jobs.values()),
        objective=sweep.objective,
        maximise=sweep.maximise,
        repeat=list(sweep.repeat),
        published={name: dict(scores) for name, scores in sweep.published.items()},
        compare=list(sweep.compare),
        figures=list(sweep.figures),
        tables=list(sweep.tables),
    )


def check_sweep(
    sweep: Sweep, config_path: str | None, overrides: Sequence[tuple[str, str]], checkpoint: str | None
) -> None:
    """Raises UserError for a sweep that contradicts itself or the command line."""
    swept = {key for point in sweep.points for key in point}
    for key, _ in overrides:
        if key in swept:
            raise UserError(f"--config.{key} fixes a key that the sweep varies; remove one of the two")
    named = sweep.job != "pretrain" and (sweep.evaluate or sweep.finetune)
    if named and config_path:
        raise UserError(
            f"--config={config_path}: the sweep file names its evaluations and decoders; leave --config out"
        )
    if not named and not config_path:
        raise UserError(f"--config is missing: give the config of kind {sweep.job} that the sweep varies")
    if sweep.job == "pretrain" and (checkpoint or "checkpoint" in swept):
        raise UserError("a sweep of pretraining takes no checkpoint")


# ---------------------------------------------------------------- one run
def stage_commands(
    sweep: Sweep,
    config_path: str | None,
    overrides: Sequence[tuple[str, str]],
    checkpoint: str | None,
    point: Mapping[str, str],
) -> list[Command]:
    """Returns the commands of one run, with the stage as id; evaluations of a pretraining have no checkpoint yet."""
    pairs = [*overrides, *((key, value) for key, value in point.items() if key not in SPECIAL)]
    kinds = {**dict.fromkeys(sweep.evaluate, "evaluate"), **dict.fromkeys(sweep.finetune, "finetune")}
    chosen = choose_stages(point.get("stages"), list(kinds))
    own, by_stage = split_pairs(pairs, kinds)
    paths = {**sweep.evaluate, **sweep.finetune}
    if sweep.job == "pretrain":
        stages = [Command(name, kinds[name], paths[name], by_stage[name]) for name in chosen]
        return [Command("pretrain", "pretrain", config_path or "", own), *stages]
    encoder = point.get("checkpoint") or checkpoint or sweep.checkpoint
    if not encoder:
        raise UserError("no encoder: give --checkpoint=PATH, or 'checkpoint' in the sweep file")
    if not kinds:
        return [Command(sweep.job, sweep.job, config_path or "", pairs, encoder)]
    return [Command(name, kinds[name], paths[name], [*own, *by_stage[name]], encoder) for name in chosen]


def choose_stages(wanted: str | None, names: Sequence[str]) -> list[str]:
    """Returns the evaluations and decoders of a run: all, or those that its "stages" lists.

    Example:
      >>> choose_stages(None, ["voc", "upernet"]), choose_stages("upernet", ["voc", "upernet"])
      (['voc', 'upernet'], ['upernet'])
    """
    if wanted is None:
        return list(names)
    chosen = wanted.split(",")
    for name in chosen:
        if name not in names:
            raise UserError(f"stages: {name!r} is no evaluation or decoder of the sweep: {', '.join(names) or 'none'}")
    return [name for name in names if name in chosen]


def split_pairs(pairs: Pairs, kinds: Mapping[str, str]) -> tuple[Pairs, dict[str, Pairs]]:
    """Returns the settings of the pretraining (or of all stages, where there is none) and of each stage by name.

    "evaluate.KEY" goes to all evaluations, "evaluate.NAME.KEY" to one; likewise "finetune." and decoders.

    Args:
      pairs: key and text.
      kinds: "evaluate" or "finetune" for each stage.
    """
    groups = {kind: {key.partition(".")[0] for key in config.declared(kind)} for kind in set(kinds.values())}
    for name, kind in kinds.items():
        if name in {"pretrain", *NAMED, *groups[kind]} or not re.fullmatch(r"[\w-]+", name):
            what = NAMED[kind]
            raise UserError(f"sweep: {what} cannot be called {name!r}; choose a short word that is not a setting")
    own: Pairs = []
    by_stage: dict[str, Pairs] = {name: [] for name in kinds}
    for key, value in pairs:
        kind, _, setting = key.partition(".")
        if kind not in NAMED:
            own.append((key, value))
            continue
        alike = [name for name in kinds if kinds[name] == kind]
        if not alike:
            raise UserError(f"config key {key}: the sweep file names no {NAMED[kind].partition(' ')[2]}")
        name, _, rest = setting.partition(".")
        for receiver in [name] if name in alike else alike:
            by_stage[receiver].append((rest if name in alike else setting, value))
    return own, by_stage


def resolve(command: Command) -> dict[str, Json]:
    """Returns all settings of a command by key, as JSON keeps them; UserError if one is not accepted."""
    return json.loads(json.dumps(config.to_flat(config.resolve(command.kind, command.config, command.overrides))))


def digest(*content: Json) -> str:
    """Returns a short checksum of JSON content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


# ---------------------------------------------------------------- all runs
class Shared(NamedTuple):
    """What an evaluation may share with others.

    Attributes:
      encoding: digest of all that the encoded prompt depends on.
      bank: digest of all that its bank depends on.
    """

    encoding: str
    bank: str


class Builder:
    """Collects commands and jobs run by run; equal pretrainings become one command.

    Args:
      folder: the sweep's folder.

    Attributes:
      commands: by id.
      jobs: ids of commands that run in order; evaluations of one encoded prompt are in one job.
    """

    def __init__(self, folder: str):
        self.folder = folder
        self.commands: dict[str, Command] = {}
        self.jobs: dict[str, list[str]] = {}
        self._pretrainings: dict[str, str] = {}  # digest of the settings -> id
        self._sharing: dict[str, Shared] = {}  # evaluation -> what it may share
        self._features: dict[str, list[str]] = {}  # encoding of whole images -> evaluations that use it
        self._first: dict[str, str] = {}  # encoding -> the first evaluation that uses it

    def add(self, run: str, stages: Sequence[Command], resolved: Resolved) -> dict[str, str]:
        """Adds the commands of a run, as `stage_commands` returns them; returns the id of each stage's command."""
        ids: dict[str, str] = {}
        for command in stages:
            stage, id = command.id, f"{run}/{command.id}"
            if command.kind == "pretrain":
                id = self._pretrainings.setdefault(digest(resolved[stage]), id)
            elif "pretrain" in ids:
                command = dataclasses.replace(command, checkpoint=f"{self.folder}/runs/{ids['pretrain']}")
            ids[stage] = id
            if id not in self.commands:
                self.commands[id] = dataclasses.replace(command, id=id)
                first = self._share(self.commands[id], resolved[stage]) if command.kind == "evaluate" else id
                self.jobs.setdefault(ids.get("pretrain", first), []).append(id)
        return ids

    def _share(self, command: Command, settings: Mapping[str, Json]) -> str:
        """Notes what an evaluation may share; returns the first evaluation that encodes the same."""
        if settings["data.task"] in SEQUENCES:
            return command.id
        if settings["data.task"] in WHOLE_IMAGE:
            features = {key: value for key, value in settings.items() if not re.match(CLASSIFIER_ONLY, key)}
            encoding = digest(features, command.checkpoint)
            self._features.setdefault(encoding, []).append(command.id)
            return self._first.setdefault(encoding, command.id)
        bank = {key: value for key, value in settings.items() if not re.match(SEARCH_ONLY, key)}
        # All that a bank holds of these is whether its features are normalised.
        distance, standardise = (bank.pop(f"retrieval.{name}") for name in ("distance", "standardise"))
        bank["raw_keys"] = distance != "cosine" or standardise
        # A prompt with augmented passes and one without are two encodings; how many None is depends on the labels.
        encoding = {key: True if value and re.match(CUT, key) else value for key, value in bank.items()}
        if settings["features.gradients"]:
            encoding = bank  # gradients depend on the whole prompt
        shared = Shared(digest(encoding, command.checkpoint), digest(bank))
        self._sharing[command.id] = shared
        return self._first.setdefault(shared.encoding, command.id)

    def with_banks(self) -> dict[str, Command]:
        """Returns the commands. Evaluations that encode the same share a bank or a cache, unless the user chose one."""
        groups: dict[str, list[str]] = {}
        for id, shared in self._sharing.items():
            groups.setdefault(shared.encoding, []).append(id)
        commands = dict(self.commands)
        for encoding, ids in groups.items():
            chosen = any(key == "retrieval.bank" for key, _ in commands[ids[0]].overrides)
            if len(ids) > 1 and not chosen:
                cut = len({self._sharing[id].bank for id in ids}) > 1
                for id in ids:
                    bank = f"{self.folder}/banks/{encoding}"
                    commands[id] = dataclasses.replace(commands[id], bank=bank, cut=cut)
        for ids in self._features.values():
            chosen = any(key == "images.cache" for key, _ in commands[ids[0]].overrides)
            for id in ids if len(ids) > 1 and not chosen else ():
                cache = ("images.cache", f"{self.folder}/features")
                commands[id] = dataclasses.replace(commands[id], overrides=[*commands[id].overrides, cache])
        return commands
