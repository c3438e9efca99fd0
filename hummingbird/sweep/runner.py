"""`hummingbird sweep`: plan, check, lock, launch, collect."""

import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from hummingbird.errors import UserError
from hummingbird.run.files import write_text
from hummingbird.sweep import state
from hummingbird.sweep.launch import LAUNCHERS, shell_command
from hummingbird.sweep.plan import Plan
from hummingbird.sweep.results import Results, collect, duration, number, table_cells, terminal_table, to_csv
from hummingbird.sweep.spec import load_sweep
from hummingbird.sweep.state import Workdir
from hummingbird.sweep.tasks import build_plan

WRITE_SECONDS = 5.0  # results are written at most this often while runs go on


def run(
    config_path: str,
    sweep_path: str,
    workdir: str,
    launcher: str = "local",
    overrides: Sequence[tuple[str, str]] = (),
    checkpoint: str | None = None,
    parallel: int | None = None,
    program: Sequence[str] | None = None,
) -> int:
    """Runs a sweep, or goes on with one: finished runs stay, failed and killed ones are run again.

    Args:
      config_path: the config that all runs share, FILE[:variant].
      sweep_path: the sweep file, FILE[:variant] (see `hummingbird.sweep.spec`).
      workdir: folder of the sweep.
      launcher: "local", "slurm" or "print".
      overrides: pairs of key and text for all runs.
      checkpoint: the encoder of an evaluation sweep.
      parallel: runs at a time; None: one for each GPU, one without.
      program: the command that is `hummingbird`, such as one in a container; None: this Python's.

    Returns:
      How many runs have failed.

    Raises:
      UserError: a bad sweep file, setting or workdir, or another process at work on it; nothing is run then.
      Preempted: stopped by SIGTERM; the same call goes on.
    """
    if launcher not in LAUNCHERS:
        raise UserError(f"--launcher={launcher}: not known, expected one of {', '.join(LAUNCHERS)}")
    if launcher == "slurm" and shutil.which("sbatch") is None:
        raise UserError("--launcher=slurm: sbatch is not installed here; run on a login node, or use --launcher=print")
    if parallel is not None and parallel < 1:
        raise UserError(f"--parallel={parallel}: expected a number >= 1")
    folder = Workdir(workdir)
    old = folder.load_plan()
    plan = build_plan(load_sweep(sweep_path), config_path, overrides, checkpoint, workdir, old)
    if program is not None:
        plan = dataclasses.replace(plan, program=list(program))
    if old is not None:
        folder.check_same_sweep(old, plan)
    elif folder.path.exists() and any(folder.path.iterdir()):
        raise UserError(f"--workdir={workdir}: is not empty and holds no sweep; choose another folder")
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        with folder.lock("sweep", f"--workdir={workdir}: another sweep process is at work on it"):
            folder.save_plan(plan)
            display = Display(plan, folder, quiet=launcher == "print")
            with display:
                LAUNCHERS[launcher](plan, folder, parallel, display.show)
            return display.finish()
    except OSError as error:
        raise UserError(f"--workdir={workdir}: cannot be written ({error.strerror}); choose another folder") from error


class Display:
    """What the user sees while a sweep runs: a live table, or a line for each change where there is no terminal."""

    def __init__(self, plan: Plan, workdir: Workdir, quiet: bool):
        self.plan, self.workdir, self.quiet = plan, workdir, quiet
        self.console = Console(file=sys.stderr)
        live = self.console.is_terminal and not quiet
        self.live = Live(console=self.console, auto_refresh=False, transient=True) if live else None
        self.began = self.written = self.drawn = time.monotonic()
        self.due = False
        self.said: dict[str, str] = {}

    def __enter__(self) -> "Display":
        if self.live:
            self.live.start()
        results = collect(self.plan, self.workdir)
        self.said = {row.run.name: row.state for row in results.rows}
        self.first_done = sum(row.state == state.DONE for row in results.rows)
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()
        if not self.quiet:
            write_results(collect(self.plan, self.workdir), self.workdir)

    def show(self, changed: bool) -> None:
        """Redraws; writes the results when something has changed, though not all the time."""
        now = time.monotonic()
        self.due |= changed
        if not changed and now - self.drawn < 1:
            return
        self.drawn = now
        results = collect(self.plan, self.workdir)
        if self.due and (now - self.written >= WRITE_SECONDS):
            write_results(results, self.workdir)
            self.written, self.due = now, False
        if self.live:
            self.live.update(
                Group(self._status(results), terminal_table(results, self.console.height - 4)), refresh=True
            )
        elif not self.quiet:
            for row in results.rows:
                if self.said.get(row.run.name) != row.state:
                    self.said[row.run.name] = row.state
                    last = f": {row.tail.splitlines()[-1]}" if row.tail else ""
                    score = row.metrics.get(results.objective) if row.state == state.DONE else None
                    score = f"  {results.objective} {number(results.objective, score)}" if score is not None else ""
                    print(f"{row.run.name}  {row.state}{score}{last}", file=sys.stderr, flush=True)

    def _status(self, results: Results) -> Text:
        kinds = [row.state for row in results.rows]
        done = kinds.count(state.DONE)
        text = f"{done} of {len(kinds)} runs done, {kinds.count(state.RUNNING)} running"
        if kinds.count(state.FAILED):
            text += f", {kinds.count(state.FAILED)} failed"
        ended = done + kinds.count(state.FAILED)
        if done > self.first_done and ended < len(kinds):
            each = (time.monotonic() - self.began) / (done - self.first_done)
            text += f", about {duration(each * (len(kinds) - ended))} left"
        return Text(text, style="bold")

    def finish(self) -> int:
        """Prints the table and where the results are; gives the number of failed runs."""
        results = collect(self.plan, self.workdir)
        failed = [row for row in results.rows if row.state == state.FAILED]
        if self.quiet:
            return len(failed)
        console = Console()
        if results.best:
            console.print(f"best: {results.best.run.name}", style="bold", highlight=False)
            for command in commands(results, self.workdir):
                console.print(command, soft_wrap=True, highlight=False, markup=False)
            console.print()
        console.print(terminal_table(results))
        for row in failed:
            console.print(f"\n{row.run.name} failed:", style="red", markup=False)
            console.print(row.tail, markup=False, highlight=False)
        console.print(f"\n{self.workdir.path / 'sweep.html'}", highlight=False, markup=False)
        return len(failed)


def commands(results: Results, workdir: Workdir) -> list[str]:
    """The commands of the best run."""
    stages = results.best.run.stages.values() if results.best else ()
    return [shell_command(results.plan.tasks[task], workdir) for task in stages]


def write_results(results: Results, workdir: Workdir) -> None:
    """sweep.csv and sweep.html, each replaced as a whole."""
    # Loaded here: a mistake in the command is then told at once, without waiting for the plots.
    from hummingbird.retrieval.report.page import environment
    from hummingbird.sweep.plots import plots

    write_text(workdir.path / "sweep.csv", to_csv(results))
    heads, body, states = table_cells(results)
    kinds = [row.state for row in results.rows]
    best = results.best
    identity = results.plan.identity
    page = (
        environment("hummingbird.sweep")
        .get_template("sweep.html.j2")
        .render(
            title=f"Sweep of {os.path.basename(os.path.normpath(workdir.path))}",
            subtitle=f"{len(results.rows)} runs of {identity['config']}",
            notes=[],
            warnings=[],
            objective=f"{results.objective} {'↑' if results.maximise else '↓'}",
            best={
                "value": number(results.objective, best.metrics[results.objective]),
                "name": best.run.name,
                "commands": commands(results, workdir),
            }
            if best
            else None,
            counts=[
                {"value": kinds.count(kind), "name": f"runs {kind}"}
                for kind in (state.DONE, state.RUNNING, state.WAITING, state.FAILED)
                if kind in kinds
            ],
            plots=plots(results),
            heads=heads,
            numeric=[*results.shown, "runs", "time"],
            body=list(zip(body, states, strict=True)),
            failures=[{"name": row.run.name, "tail": row.tail} for row in results.rows if row.state == state.FAILED],
            facts=[
                ("job", identity["job"]),
                ("config", identity["config"]),
                ("overrides", " ".join(f"{key}={value}" for key, value in identity["overrides"]) or "–"),
                ("evaluations", ", ".join(f"{k}: {v}" for k, v in identity["evaluate"].items()) or "–"),
                ("checkpoint", identity["checkpoint"] or "–"),
                ("repeats", ", ".join(results.plan.repeat)),
            ],
        )
    )
    write_text(workdir.path / "sweep.html", page)
