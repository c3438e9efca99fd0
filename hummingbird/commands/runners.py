"""What the commands of `hummingbird` run; `commands.table` declares their arguments."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

from hummingbird.commands.declare import Overrides
from hummingbird.commands.printing import print_all, show
from hummingbird.errors import UserError


def run_pretrain(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird import config, hooks, train
    from hummingbird.devices import distributed, topology

    topology.claim_gpus()
    if arguments.init_from is not None:
        overrides = [*overrides, ("init_from", arguments.init_from)]
    resolved = config.resolve("pretrain", arguments.config, overrides)
    distributed.initialize()
    train.pretrain(resolved, arguments.workdir, hooks.build_hooks(resolved, arguments.workdir))


def run_evaluate(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird import config, retrieval
    from hummingbird.devices import distributed

    resolved = config.resolve("evaluate", arguments.config, overrides)
    distributed.initialize()
    result = retrieval.evaluate(arguments.checkpoint, resolved, arguments.workdir)
    scores = {name: value for name, value in result["metrics"].items() if not isinstance(value, dict)}
    used = result.get("index", {})
    index = {"index": used.get("kind"), "recall_at_k": used.get("recall_at_k")}
    print(json.dumps({"task": result["task"], "dataset": result["dataset"], **scores, **index}))
    report = pathlib.Path(arguments.workdir) / "report.html"
    if resolved.report.enabled and report.exists():
        print(f"report: {report}", file=sys.stderr)


def run_finetune(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird import config
    from hummingbird.decoders.finetune import finetune
    from hummingbird.devices import distributed

    resolved = config.resolve("finetune", arguments.config, overrides)
    distributed.initialize()
    result = finetune(resolved, arguments.checkpoint, arguments.workdir).result
    scores = {name: value for name, value in result["metrics"].items() if not isinstance(value, dict)}
    print(json.dumps({"task": result["task"], "dataset": result["dataset"], **scores}))
    report = pathlib.Path(arguments.workdir) / "report.html"
    if resolved.report.enabled and report.exists():
        print(f"report: {report}", file=sys.stderr)


def run_segment(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird.incontext.segment import resolve_config, segment

    resolved = resolve_config(arguments.prompt, overrides)
    images = [path for group in arguments.images for path in group]
    print(json.dumps(segment(arguments.checkpoint, arguments.prompt, images, arguments.out, resolved)))


def run_sweep(arguments: argparse.Namespace, overrides: Overrides) -> int:
    from hummingbird import sweep

    failed = sweep.run(
        arguments.config,
        arguments.sweep,
        arguments.workdir,
        arguments.launcher,
        overrides,
        checkpoint=arguments.checkpoint,
        parallel=arguments.parallel,
    )
    return 1 if failed else 0


def run_plan(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird import config
    from hummingbird.commands import plan

    if config.kind_of(arguments.config) == "finetune":
        from hummingbird.commands.plan_decoder import plan_decoder

        decoder = config.resolve("finetune", arguments.config, overrides)
        result = plan_decoder(decoder, arguments.topology, arguments.checkpoint)
    elif arguments.checkpoint:
        raise UserError("--checkpoint is for configs of `hummingbird finetune`; pretraining has encoder.name")
    else:
        result = plan.plan(config.resolve("pretrain", arguments.config, overrides), arguments.topology)
    print(plan.table(result) if arguments.table else json.dumps(result))


def run_info(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird.commands import info

    if arguments.models:
        return print_all(info.list_models(arguments.path, arguments.json))
    if arguments.path is None:
        raise UserError("info needs a path, or --models to list encoders that load by name")
    found = info.describe(arguments.path, arguments.family)
    show(found if arguments.json else info.shortened(found), arguments.json)


def run_import(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird import weights

    names = ("family", "features", "layers", "norm", "prefix", "heads", "grid", "mean", "std")
    show(weights.import_weights(arguments.src, arguments.dst, **{name: getattr(arguments, name) for name in names}))


def run_export(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird import weights

    show(weights.export_weights(arguments.src, arguments.dst, format=arguments.format, network=arguments.network))


def run_data(arguments: argparse.Namespace, overrides: Overrides) -> int:
    from hummingbird.commands import inspect_data, prepare_data

    if arguments.convert:
        return prepare_data.convert(arguments.config, arguments.convert, arguments.out, overrides)
    if arguments.index:
        return prepare_data.index(arguments.config, overrides)
    return inspect_data.run(arguments.config, overrides, out=arguments.out, check_all=arguments.all)


def run_bank(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird import config, encoder
    from hummingbird.data.sources import build_dense_source
    from hummingbird.retrieval.bank import files
    from hummingbird.retrieval.evaluation import build_evaluation
    from hummingbird.retrieval.fitted_encodings import FittedEncodings, needs_fit
    from hummingbird.retrieval.own_encodings import Kept

    if arguments.action == "build":
        if not (arguments.config and arguments.checkpoint):
            raise UserError("bank build needs --config=NAME and --checkpoint=PATH")
        resolved = config.resolve("evaluate", arguments.config, [*overrides, ("retrieval.bank", arguments.path)])
        loaded = encoder.build_encoder(arguments.checkpoint, resolved.encoder)
        evaluation = build_evaluation(loaded, resolved, build_dense_source(resolved, "prompt"))
        (FittedEncodings() if needs_fit(evaluation) else Kept()).bank(evaluation)
    report = files.verify_bank if arguments.action == "verify" else files.describe_bank
    show(report(arguments.path), arguments.json)


def run_report(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird.retrieval import report

    runs = report.read_runs(arguments.workdirs)
    try:
        report.write_comparison(arguments.out, runs)
    except OSError as error:
        raise UserError(f"--out={arguments.out} cannot be written ({error.strerror}); name another file") from error
    print(f"report: {arguments.out}, {len(runs)} evaluations" if len(runs) > 1 else f"report: {arguments.out}")


def run_serve(arguments: argparse.Namespace, overrides: Overrides) -> int:
    from hummingbird.incontext.app import server

    return server.serve(
        arguments.checkpoint,
        arguments.prompt,
        arguments.port,
        arguments.host,
        arguments.workdir,
        arguments.input_size,
        arguments.open,
    )
