"""The examples in docstrings run and print what they say."""

import ast
import doctest
import importlib

import pytest

from tests.test_imports import MODULES

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples(module: str) -> dict[str, tuple[int, str]]:
    """{name: (line, docstring)} of the docstrings with examples, read from the source: decorators hide some of them."""
    nodes = ast.walk(ast.parse(MODULES[module].read_text()))
    documented = (node for node in nodes if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef))
    found = ((node, ast.get_docstring(node) or "") for node in documented)
    return {getattr(node, "name", module): (getattr(node, "lineno", 1), text) for node, text in found if ">>>" in text}


# Their examples take seconds: networks of twelve layers with gradients, and a decoder that is trained.
LONG = {f"hummingbird.{name}" for name in ("decoders.fitting", "gradients.images", "gradients.incontext")}
WITH_EXAMPLES = [
    pytest.param(name, marks=pytest.mark.long if name in LONG else ())
    for name, path in MODULES.items()
    if ">>>" in path.read_text()
]


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_print_what_they_say(module):
    scope = vars(importlib.import_module(module))
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for name, (line, text) in examples(module).items():
        example = doctest.DocTestParser().get_doctest(text, dict(scope), name, str(MODULES[module]), line)
        printed: list[str] = []
        assert runner.run(example, out=printed.append).failed == 0, "".join(printed)
