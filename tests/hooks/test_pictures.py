"""Pictures show the views of the step, and the images that the bank's entries really come from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hummingbird import hooks
from hummingbird.hooks import pictures
from hummingbird.hooks.origins import Origins, Thumbnails
from hummingbird.hooks.picture_sheet import SIDE, Row, draw
from hummingbird.models import context
from hummingbird.models.pretrainer import patch_features
from hummingbird.tasks.drawing import BLANK, GAP, MARGIN, TEXT
from tests import tiny

# The same in all tests, so that the program that shows them is compiled once.
SHOWN = {"pictures.images": 3, "pictures.neighbours": 4}


@pytest.mark.parametrize(("length", "batch", "hosts"), [(18, 12, 1), (18, 12, 3), (24, 12, 2), (12, 12, 1)])
def test_every_entry_is_traced_to_its_image(length, batch, hosts):
    """Labels travel through the bank with the keys: here they are the numbers of the images."""
    bank = context.init_bank(length, batch, 4)
    slots, rows, _ = bank.keys.shape
    push = jax.jit(context.push)
    origins = [Origins(slots, rows, batch // rows, hosts, host) for host in range(hosts)]
    for step in range(1, 6):
        numbers = 100 * step + np.arange(batch)
        bank = push(bank, jnp.zeros((batch, 4)), jnp.asarray(numbers))
        if step < 4:
            continue  # before this process started
        for host, part in enumerate(np.split(numbers, hosts)):
            origins[host].add(step, Thumbnails(part, part[:, None]))
    for at in np.ndindex(slots, rows):
        found = [known for origin in origins if (known := origin.find(5, int(bank.cursor), *at)) is not None]
        assert len(found) == (int(bank.labels[at]) >= 400)
        for batch_of, place in found:
            assert batch_of.index[place] == batch_of.views[place, 0] == bank.labels[at]
    assert all(len(origin.batches) <= origin.steps for origin in origins)


@pytest.fixture(scope="module")
def stepped():
    """The tiny run after a step, and the batch of that step."""
    program = tiny.program(1)
    state = program.fill(program.init(), tiny.placed(program, 99), jnp.int32(0))
    state = program.fill(state, tiny.placed(program, 98), jnp.int32(1))
    batch = tiny.batch(0)
    state, _ = program.step(state, tiny.placed(program, 0))
    return program.model, state, batch


@pytest.mark.long
def test_views_match_the_step_and_neighbours_are_the_nearest_older_entries(stepped):
    model, state, batch = stepped
    views = batch.views["global"]
    config = tiny.tiny_config(**SHOWN)
    shown = jax.device_get(jax.jit(pictures.build_pictures(config).inspect)(state, views[:3]))
    augmented = tiny.augmented(batch)
    np.testing.assert_allclose(shown.views, augmented[:3], atol=1e-5)
    np.testing.assert_allclose(shown.masks.sum(axis=-1), 1, rtol=1e-5)

    tokens = jax.jit(patch_features, static_argnums=0)(model, {"params": state.online}, augmented[:3, 0])
    mean = np.asarray(tokens, np.float64).mean(axis=(1, 2))
    keys = np.asarray(state.bank.keys, np.float64).copy()
    written = (int(state.bank.cursor) - 1) % len(keys)  # the tiny bank has a slot a step
    cosine = np.einsum("nd,srd->nsr", mean, keys)
    cosine /= np.linalg.norm(mean, axis=-1)[:, None, None] * np.linalg.norm(keys, axis=-1)
    cosine[:, written] = -np.inf  # the images themselves
    np.testing.assert_allclose(shown.similarity, np.sort(cosine.reshape(3, -1))[:, :-5:-1], atol=1e-5)
    found = np.stack([cosine[i][tuple(shown.nearest[i].T)] for i in range(3)])
    np.testing.assert_allclose(found, shown.similarity, atol=1e-5)


@pytest.mark.program
def test_a_run_draws_a_sheet_every_n_steps(tmp_path, monkeypatch):
    sheets = {}
    monkeypatch.setattr(pictures, "draw", lambda title, rows: sheets.setdefault(title, rows) and draw(title, rows))
    changes = {"pictures.every": 2, **SHOWN}
    run = tmp_path / "run"
    tiny.pretrain(run, *hooks.build_hooks(tiny.tiny_config(**changes), str(run)), **changes)
    assert sorted(path.name for path in (run / "pictures").iterdir()) == ["00000002.png", "00000004.png"]
    assert all(Image.open(path).width > 1000 for path in (run / "pictures").iterdir())
    assert set(sheets) == {"step 2", "step 4"}
    for rows in sheets.values():  # of older entries only those of the step before are left in a bank of two batches
        assert len(rows) == 3
        assert all(known is not None and 0 <= known[1] < 64 for row in rows for _, known in row.neighbours)
    (events,) = run.glob("events.*")
    assert events.read_bytes().count(b"pictures") == 2


@pytest.mark.long
def test_entries_from_before_the_start_are_unknown(stepped):
    model, state, (groups, labels) = stepped
    hook = pictures.build_pictures(tiny.tiny_config(**{"pictures.every": 1, **SHOWN}))
    batch = {"views": groups, "label": labels, "index": np.arange(len(labels))}
    shown = hook(1, state, model, batch)
    assert shown is not None
    sheet = shown["pictures"]
    assert (sheet[100, -100] == BLANK).all()
    inverted = {**batch, "views": {"global": 255 - groups["global"]}}
    again = hook(2, state, model, inverted)  # the compiled program is used again
    assert again is not None
    assert not np.array_equal(again["pictures"], sheet)


@pytest.mark.long
def test_without_older_entries_there_are_no_neighbours(stepped):
    config = tiny.tiny_config(**{"context.bank_length": 0, "pictures.every": 1})
    assert pictures.build_pictures(config).neighbours == 0
    assert pictures.build_pictures(tiny.tiny_config(**{"context.bank_length": 16})).neighbours == 0


def test_thumbnails_of_a_large_bank_fit_in_memory():
    config = tiny.tiny_config(**{"input_size": 224, "context.bank_length": 160_000})
    side = pictures.build_pictures(config).side
    assert 16 <= side < 40
    assert 160_000 * side * side * 3 <= pictures.MEMORY


def test_a_sheet_has_as_many_columns_as_there_are_views():
    view, mask = np.full((2, 32, 32, 3), 0.5, np.float32), np.full((2, 16), 1 / 16, np.float32)
    one, two = (draw("", [Row("", view[:count], mask[:count], [])]).shape[1] for count in (1, 2))
    assert two - one == pytest.approx(2 * (SIDE + GAP), abs=GAP)


def test_attention_is_drawn_over_its_patches():
    mask = np.zeros((2, 16), np.float32)
    mask[0, 6] = mask[1, 15] = 1  # second row, third column; the last corner
    view = np.full((2, 32, 32, 3), 0.5, np.float32)
    sheet = draw("step 1", [Row("image 0", view, mask, [])]).astype(int)
    top = MARGIN + 2 * TEXT + GAP
    for i, patch in ((1, (1, 2)), (3, (3, 3))):
        left = MARGIN + i * (SIDE + GAP)
        tile = sheet[top : top + SIDE, left : left + SIDE]
        brightness = tile.sum(axis=-1).reshape(4, SIDE // 4, 4, SIDE // 4).mean(axis=(1, 3))
        assert np.unravel_index(brightness.argmax(), (4, 4)) == patch
