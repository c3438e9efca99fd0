"""The shape of the code, held by reading its source: imports go one way, files stay short, nothing is left undone."""

import ast
import functools
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "hummingbird"
LONGEST = 350
MOST_ROOMS = 20  # that a newcomer can keep in mind

# Where a reader finds the layers: a block of text with one layer a line, the modules first, then what they hold.
ARCHITECTURE = ROOT / ".github" / "ARCHITECTURE.md"


def read_layers(page: str) -> tuple[tuple[str, ...], ...]:
    block = page.partition("```text\n")[2].partition("```")[0]
    return tuple(tuple(re.split(r"\s{2,}", line)[0].split()) for line in block.splitlines())


# A module imports only from its own line and the lines above it. A new module is given its place on that page.
LAYERS = read_layers(ARCHITECTURE.read_text())
PLACE = {name: place for place, layer in enumerate(LAYERS) for name in layer}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(source: str, module: str, is_package: bool = False) -> set[str]:
    """The names under `hummingbird` that a module's source imports anywhere in it, relative ones made absolute."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (base, node.module or "") if part)
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "hummingbird"}


@functools.cache
def imports_of(module: str) -> set[str]:
    path = MODULES[module]
    return imported(path.read_text(), module, is_package=path.name == "__init__.py")


def top(module: str) -> str | None:
    """`hummingbird.retrieval.bank.keys` -> `retrieval`; None for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def tracked(*patterns: str) -> list[Path]:
    """The checkout's files: those git knows or would take; all of them in an unpacked archive without git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        return [path for pattern in patterns for path in ROOT.rglob(pattern) if path.is_file()]
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_reader_sees_every_form_of_import():
    source = "import hummingbird.a\nfrom . import b\nfrom .c import d\ndef f():\n    from ..e import g\nimport numpy\n"
    assert imported(source, "hummingbird.x.y") == {
        "hummingbird.a",
        "hummingbird.x.b",
        "hummingbird.x.c.d",
        "hummingbird.e.g",
    }
    assert imported("from .c import d", "hummingbird.x", is_package=True) == {"hummingbird.x.c.d"}


def test_every_module_has_its_place():
    unplaced = {top(module) for module in MODULES} - set(PLACE) - {None, "__main__"}
    assert not unplaced, f"give {sorted(unplaced)} a line in {ARCHITECTURE.name}"
    gone = set(PLACE) - {top(module) for module in MODULES}
    assert not gone, f"take {sorted(gone)} out of {ARCHITECTURE.name}"


def test_imports_go_one_way():
    upward = [
        f"{module} imports {name}, which comes after it"
        for module in MODULES
        if top(module) not in (None, "__main__")  # the front door names everything, lazily
        for name in sorted(imports_of(module))
        if PLACE.get(top(name) or "", -1) > PLACE[top(module) or ""]
    ]
    assert not upward, upward


def test_training_reaches_retrieval_only_through_a_hook():
    direct = [
        f"{module}: {name}"
        for module in MODULES
        for name in imports_of(module)
        if top(module) in ("train", "train_step") and top(name) == "retrieval"
    ]
    assert not direct


def test_modules_do_not_import_in_a_circle():
    graph = {}
    for module in MODULES:
        targets = {name if name in MODULES else name.rpartition(".")[0] for name in imports_of(module)}
        graph[module] = targets & set(MODULES) - {module, "hummingbird"}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for target in graph[module]:
                visit(target, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_tensorflow_is_never_imported():
    users = [
        str(path.relative_to(ROOT))
        for path in tracked("hummingbird/*.py", "configs/*.py", "scripts/*.py")
        if re.search(r"^\s*(import|from) tensorflow\b(?!_)", path.read_text(), re.MULTILINE)
    ]
    assert not users


def test_no_module_is_a_drawer_of_odds_and_ends():
    assert not [name for name in MODULES if name.rpartition(".")[2] in ("utils", "util", "helpers", "misc", "common")]


def test_the_top_level_stays_small():
    assert len(PLACE) <= MOST_ROOMS, f"more than {MOST_ROOMS} modules at the top level: {', '.join(PLACE)}"


def test_files_stay_short():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in tracked("*.py")}
    long = {name: length for name, length in lengths.items() if length > LONGEST}
    assert not long, f"more than {LONGEST} lines: {long}"


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        # in two pieces, so that this file does not find itself
        ("a mark of unfinished work", r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b|NotImplemented" r"Error"),
        ("a folder of one machine", r"(?<![\w.$}:])/(ho" r"me|Us" r"ers|ro" r"ot|wo" r"rk|mn" r"t)/\w"),
        ("a package index", r"py" r"pi\.org|python" r"hosted"),
    ],
)
def test_nothing_stays_in_the_tree_that_should_not(what, pattern):
    found = []
    for path in tracked("*.py", "*.md", "*.toml", "*.txt", "scripts", ".ci", "*.j2"):
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if re.search(pattern, line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, what
