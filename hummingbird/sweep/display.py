"""What the user sees while a sweep runs: a live table, or a line per change where there is no terminal."""

from __future__ import annotations

import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from hummingbird.sweep.collect import Results, Row, collect
from hummingbird.sweep.folder import DONE, FAILED, RUNNING, SweepFolder
from hummingbird.sweep.pairs import difference_table, differences
from hummingbird.sweep.schedule import Schedule
from hummingbird.sweep.tables import duration, number, terminal_table

WRITE_SECONDS = 5.0  # results are written at most this often while the sweep runs
LINE = 120  # columns of a table in a file; one that needs more has them, since nothing is cut there


class Display:
    """Shows the progress of a sweep and writes its results; a context manager.

    Args:
      schedule: of the sweep.
      folder: the sweep's folder.
      quiet: print nothing and write nothing.
    """

    def __init__(self, schedule: Schedule, folder: SweepFolder, quiet: bool):
        self.schedule, self.folder, self.quiet = schedule, folder, quiet
        self.console = Console(file=sys.stderr)
        live = self.console.is_terminal and not quiet
        self.live = Live(console=self.console, auto_refresh=False, transient=True) if live else None
        self._start = self._written = self._drawn = time.monotonic()
        self._changed = False
        self._done_at_start = 0
        self._shown: dict[str, str] = {}  # state of each run, as last printed

    def __enter__(self) -> Display:
        if self.live:
            self.live.start()
        results = collect(self.schedule, self.folder)
        self._shown = {row.run.name: row.state for row in results.rows}
        self._done_at_start = results.count(DONE)
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()
        if not self.quiet:
            _write(collect(self.schedule, self.folder), self.folder)

    def show(self, changed: bool) -> None:
        """Redraws at most once a second unless a status has changed, and writes the results now and then."""
        now = time.monotonic()
        self._changed |= changed
        if not changed and now - self._drawn < 1:
            return
        self._drawn = now
        results = collect(self.schedule, self.folder)
        if self._changed and now - self._written >= WRITE_SECONDS:
            _write(results, self.folder)
            self._written, self._changed = now, False
        if self.live:
            table = terminal_table(results, self.console.width, self.console.height - 4)
            self.live.update(Group(self._progress(results), table), refresh=True)
        elif not self.quiet:
            self._print_changes(results)

    def _print_changes(self, results: Results) -> None:
        for row in results.rows:
            if self._shown.get(row.run.name) != row.state:
                self._shown[row.run.name] = row.state
                left = f"  ({self._progress(results)})" if row.state in (DONE, FAILED) else ""
                print(f"{row.run.name}  {row.state}{_details(row, results)}{left}", file=sys.stderr, flush=True)

    def _progress(self, results: Results) -> Text:
        total, done, failed = len(results.rows), results.count(DONE), results.count(FAILED)
        text = f"{done} of {total} runs done, {results.count(RUNNING)} running"
        if failed:
            text += f", {failed} failed"
        if done > self._done_at_start and done + failed < total:
            each = (time.monotonic() - self._start) / (done - self._done_at_start)
            text += f", about {duration(each * (total - done - failed))} left"
        return Text(text, style="bold")

    def finish(self) -> int:
        """Prints the table and the path of the results; returns the number of failed runs."""
        results = collect(self.schedule, self.folder)
        failed = [row for row in results.rows if row.state == FAILED]
        if self.quiet:
            return len(failed)
        from hummingbird.sweep.report import best_commands

        console = Console()
        width = console.width
        if not console.is_terminal:
            console, width = Console(width=10_000), LINE
        if results.best:
            console.print(f"best: {results.best.run.name}", style="bold", highlight=False)
            for command in best_commands(results, self.folder):
                console.print(command, soft_wrap=True, highlight=False, markup=False)
            console.print()
        console.print(terminal_table(results, width))
        if found := differences(results):
            console.print()
            console.print(difference_table(found))
        for row in failed:
            console.print(f"\n{row.run.name} failed:", style="red", markup=False)
            console.print(row.tail, markup=False, highlight=False)
        console.print(f"\n{self.folder.path / 'sweep.html'}", highlight=False, markup=False)
        return len(failed)


def _details(row: Row, results: Results) -> str:
    """Returns the score of a finished run, or the last line of a failed one."""
    score = row.metrics.get(results.objective) if row.state == DONE else None
    text = f"  {results.objective} {number(results.objective, score)}" if score is not None else ""
    return text + (f": {row.tail.splitlines()[-1]}" if row.tail else "")


def _write(results: Results, folder: SweepFolder) -> None:
    # Imported here: the plots take a second to load, which a mistake in the command should not wait for.
    from hummingbird.sweep.report import write_results

    write_results(results, folder)
