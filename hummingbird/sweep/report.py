"""The files with a sweep's results: sweep.csv, and sweep.html with plots and the commands of the best run."""

from __future__ import annotations

import os

from hummingbird.retrieval.report.page import environment
from hummingbird.run.files import write_text
from hummingbird.sweep.collect import Results
from hummingbird.sweep.curves import paper_figures
from hummingbird.sweep.folder import DONE, FAILED, RUNNING, WAITING, SweepFolder
from hummingbird.sweep.pairs import HEADS, differences
from hummingbird.sweep.picking import table_body
from hummingbird.sweep.plots import difference_plots, plots
from hummingbird.sweep.tables import number, numeric_heads, table_cells, to_csv


def write_results(results: Results, folder: SweepFolder) -> None:
    """Writes sweep.csv and sweep.html, each as a whole."""
    write_text(folder.path / "sweep.csv", to_csv(results))
    write_text(folder.path / "sweep.html", page(results, folder))


def page(results: Results, folder: SweepFolder) -> str:
    """Returns sweep.html."""
    heads, body, states = table_cells(results)
    best, identity = results.best, results.schedule.identity
    stages = {**identity["evaluate"], **identity.get("finetune", {})}
    template = environment("hummingbird.sweep").get_template("sweep.html.j2")
    return template.render(
        title=f"Sweep of {os.path.basename(os.path.normpath(folder.path))}",
        subtitle=f"{len(results.rows)} runs of {identity['config'] or ', '.join(stages.values())}",
        notes=[],
        warnings=[],
        objective=f"{results.objective} {'↑' if results.maximise else '↓'}",
        best=best
        and {
            "value": number(results.objective, best.metrics[results.objective]),
            "name": best.run.name,
            "commands": best_commands(results, folder),
        },
        counts=[
            {"value": results.count(state), "name": f"runs {state}"}
            for state in (DONE, RUNNING, WAITING, FAILED)
            if results.count(state)
        ],
        paper_figures=paper_figures(results),
        paper_tables=[(table, table_body(results, table)) for table in results.schedule.tables],
        plots=plots(results),
        difference_heads=HEADS,
        differences=[one.cells() for one in differences(results)],
        difference_plots=difference_plots(results),
        heads=heads,
        numeric=numeric_heads(results),
        body=list(zip(body, states, strict=True)),
        failures=[{"name": row.run.name, "tail": row.tail} for row in results.rows if row.state == FAILED],
        facts=[
            ("job", identity["job"]),
            ("config", identity["config"] or "–"),
            ("overrides", " ".join(f"{key}={value}" for key, value in identity["overrides"]) or "–"),
            ("evaluations and decoders", ", ".join(f"{name}: {path}" for name, path in stages.items()) or "–"),
            ("checkpoint", identity["checkpoint"] or "–"),
            ("repeats", ", ".join(results.schedule.repeat)),
        ],
    )


def best_commands(results: Results, folder: SweepFolder) -> list[str]:
    """Returns the commands of the best run."""
    stages = results.best.run.stages.values() if results.best else ()
    return [folder.shell_command(results.schedule.commands[id]) for id in stages]
