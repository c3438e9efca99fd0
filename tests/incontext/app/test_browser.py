"""The page in a browser: Chromium, driven by Playwright."""

import contextlib
import dataclasses
import io
import os
import shutil
import socket
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

import hummingbird as hb
from hummingbird.incontext.app import opening
from tests.incontext.app.site import Colours, Site, picture, pixels_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:the prompt holds annotated pixels of one class")]

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
WAIT = 60_000  # milliseconds, for machines that are busy
READY = """() => window.hummingbird && hummingbird.store.queue.length === 0 && hummingbird.store.shownImages.length > 0
  && hummingbird.store.shownImages.every((i) => i.mask && i.mask.revision === hummingbird.store.effective)"""
LABELS = "(id) => { const labels = hummingbird.labels(id); return [labels.height, labels.width, ...labels.data]; }"
MASK = "(id) => { const mask = hummingbird.mask(id); return [mask.height, mask.width, ...mask.labels]; }"


@pytest.fixture(scope="module")
def chromium():
    sync = pytest.importorskip("playwright.sync_api", reason="the extra dev brings playwright")
    if not CHROMIUM:
        pytest.skip("no Chromium: install it (Debian: apt install chromium) or name it in CHROMIUM")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def running(site, port=0):
    """Serves a site from a thread; yields its address."""
    uvicorn = pytest.importorskip("uvicorn")
    with socket.create_server(("127.0.0.1", port)) as listening:
        config = uvicorn.Config(site.client.app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            site.page.stopping = server.should_exit = True
            site.page.store.wake()
            thread.join()


class Tab:
    """A page of the browser; fails the test on any error in its console."""

    def __init__(self, context, address):
        self.page = context.new_page()
        self.page.set_default_timeout(WAIT)
        self.errors = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_function("() => window.hummingbird")
        self.id = self.page.evaluate("() => hummingbird.store.session")

    def ready(self):
        self.page.wait_for_function(READY)
        assert not self.errors

    def add(self, *files):
        """Drops files of (name, content)."""
        payload = [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files]
        before = self.page.evaluate("() => hummingbird.store.shownImages.length")
        self.page.set_input_files("#files", payload)
        self.page.wait_for_function(f"() => hummingbird.store.shownImages.length === {before + len(files)}")
        return self.page.evaluate("() => hummingbird.store.shownImages.map((image) => image.id)")

    def name(self, *classes):
        for name in classes:
            self.page.fill("#class-name", name)
            self.page.press("#class-name", "Enter")
            self.page.wait_for_selector(f'#classes [aria-label="{name}"]')
        return self

    def choose(self, image):
        self.page.click(f'[data-image="{image}"]')
        self.page.wait_for_function(f"() => hummingbird.editor.image.id === '{image}'")

    def paint(self, *points):
        """Moves the pressed mouse through points of the image, in pixels."""
        box = self.page.locator("#canvas").bounding_box()
        view = self.page.evaluate("() => hummingbird.editor.view")
        places = [
            (box["x"] + view["x"] + x * view["scale"], box["y"] + view["y"] + y * view["scale"]) for x, y in points
        ]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=5)
        self.page.mouse.up()

    def array(self, script, id):
        height, width, *values = self.page.evaluate(script, id)
        return np.array(values, np.uint8).reshape(height, width)

    def says(self, text):
        self.page.wait_for_selector(f'.toast:has-text("{text}")')


@pytest.fixture
def served(chromium, tmp_path):
    """A page without images, open in a tab."""
    site = Site(tmp_path / "work")
    with running(site) as address, contextlib.closing(chromium.new_context()) as context:
        yield site, Tab(context, address), address


def annotate(tab, tool="brush"):
    """Two images, two classes, strokes on the first image; returns the images' ids."""
    images = tab.add(("0.png", picture(0)), ("1.png", picture(1)))
    tab.name("red", "blue")
    tab.choose(images[0])
    tab.page.keyboard.press("1")
    tab.paint((5, 5), (30, 8), (12, 20))
    tab.page.keyboard.press("2")
    tab.page.keyboard.press({"brush": "b", "fill": "f"}[tool])
    tab.paint((40, 30), (60, 33), (50, 46), (41, 44))
    tab.ready()
    return images


@pytest.mark.parametrize("tool", ["brush", "fill"])
def test_strokes_of_the_mouse_label_all_images_as_the_prompt_does(served, tool):
    site, tab, _ = served
    images = annotate(tab, tool)
    tab.page.keyboard.press("e")
    tab.page.keyboard.press("[")
    tab.paint((20, 4), (26, 9))
    tab.ready()
    session = site.page.store.get(tab.id)
    labels = session.labels(images[0])
    assert set(np.unique(labels)) == {0, 1, 255}
    assert [len(picture.strokes) for picture in session.state.shown()] == [3, 0]
    assert "updated in" in tab.page.inner_text("#status")
    np.testing.assert_array_equal(tab.array(LABELS, images[0]), labels, "what is shown is what is sent")
    prompt = hb.Prompt(Colours(), ["red", "blue"], input_size=64)
    prompt.add(pixels_of(picture(0)), labels)
    for seed, image in enumerate(images):
        np.testing.assert_array_equal(tab.array(MASK, image), prompt.predict(pixels_of(picture(seed))).labels)


def test_the_first_page_shows_labelled_scenes(chromium, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "SIZE", 96)
    site = Site(tmp_path, opening.build_opening(None))
    with running(site) as address, contextlib.closing(chromium.new_context()) as context:
        tab = Tab(context, address)
        tab.ready()
        assert tab.page.locator(".tile").count() == 8
        assert tab.page.locator(".tile .mine:visible").count() == 2
        assert "label the others" in tab.page.inner_text("#hint")
        drawn = "() => { const c = document.querySelector('#canvas'); return [...c.getContext('2d')" + (
            ".getImageData(c.width / 2, c.height / 2, 1, 1).data]; }"
        )
        assert tab.page.evaluate(drawn)[3] == 255
        tab.add(("mine.png", picture(0)))
        tab.says("Added 1 image.")
        tab.page.click("text=Remove the examples")
        tab.page.wait_for_function("() => hummingbird.store.shownImages.length === 1")
        assert tab.page.locator("#classes li").count() == 0


def test_undo_redo_and_clear(served):
    site, tab, _ = served
    images = annotate(tab)
    labels = lambda: site.page.store.get(tab.id).labels(images[0])
    full = labels()
    for keys, expected in (("Control+z", {0, 255}), ("Control+Shift+z", {0, 1, 255})):
        tab.page.keyboard.press(keys)
        tab.ready()
        assert set(np.unique(labels())) == expected
    np.testing.assert_array_equal(labels(), full)
    tab.page.click("#clear")
    tab.page.wait_for_function("() => hummingbird.predictor.values?.length === 0 && !hummingbird.predictor.busy")
    assert (labels() == 255).all()
    assert tab.page.evaluate("() => hummingbird.store.shownImages.every((image) => image.mask === null)")
    tab.page.click(".toast >> text=Undo")
    tab.ready()
    np.testing.assert_array_equal(labels(), full)


def test_a_reload_in_the_middle_restores_everything(served):
    site, tab, address = served
    images = annotate(tab)
    before = tab.array(LABELS, images[0]), tab.array(MASK, images[1])
    tab.page.reload()
    tab.page.wait_for_function(READY)
    np.testing.assert_array_equal(tab.array(LABELS, images[0]), before[0])
    np.testing.assert_array_equal(tab.array(MASK, images[1]), before[1])
    tab.page.goto(tab.page.url.partition("?")[0])
    tab.page.wait_for_function(READY)
    assert tab.page.evaluate("() => hummingbird.store.session") == tab.id, "the browser remembers its session"
    site.page.about = dataclasses.replace(site.page.about, opening="a folder")
    other = Tab(tab.page.context, address)
    assert other.id != tab.id, "a server with another --prompt opens it"


def test_a_second_user_has_another_session(served, chromium):
    _, tab, address = served
    annotate(tab)
    with contextlib.closing(chromium.new_context()) as context:
        other = Tab(context, address)
        assert other.id != tab.id
        assert other.page.evaluate("() => hummingbird.store.shownImages.length") == 0


def test_two_tabs_of_a_session_show_each_others_strokes(served):
    site, tab, _ = served
    images = annotate(tab)
    other = Tab(tab.page.context, tab.page.url)
    other.ready()
    other.choose(images[1])
    other.paint((10, 10), (50, 40))
    other.ready()
    tab.page.bring_to_front()
    tab.page.wait_for_function(f"() => hummingbird.store.images.get('{images[1]}').strokes.size === 1")
    tab.ready()
    labels = site.page.store.get(tab.id).labels(images[1])
    for each in (tab, other):
        np.testing.assert_array_equal(each.array(LABELS, images[1]), labels)
        np.testing.assert_array_equal(each.array(MASK, images[0]), tab.array(MASK, images[0]))


def test_fast_strokes_end_in_the_masks_of_the_last_one(served):
    site, tab, _ = served
    images = annotate(tab)
    for number in range(12):
        tab.page.keyboard.press(str(1 + number % 2))
        tab.paint((4 + 4 * number, 10 + 3 * number), (10 + 4 * number, 12 + 3 * number))
    tab.ready()
    site.base = f"/api/sessions/{tab.id}"
    masks, _ = site.predict(*images)
    for image in images:
        np.testing.assert_array_equal(tab.array(MASK, image), masks[image][0])
    np.testing.assert_array_equal(tab.array(LABELS, images[0]), site.page.store.get(tab.id).labels(images[0]))


def test_pointing_at_a_pixel_shows_the_patches_that_decided(served):
    _, tab, _ = served
    images = annotate(tab)
    tab.choose(images[1])
    box = tab.page.locator("#canvas").bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.page.wait_for_selector(".patch")
    assert tab.page.inner_text("#explain .decided b") in ("red", "blue")
    tab.page.keyboard.press("i")
    tab.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.page.click(".patch >> nth=0")
    tab.page.wait_for_function(f"() => hummingbird.editor.image.id === '{images[0]}'")


def test_messages_for_what_cannot_be_done(served):
    _, tab, _ = served
    tab.page.set_input_files("#files", [{"name": "a.png", "mimeType": "image/png", "buffer": b"no image"}])
    tab.says("a.png is not an image")
    images = tab.add(("0.png", picture(0)))
    assert "Name two classes" in tab.page.inner_text("#hint")
    tab.paint((5, 5), (9, 9))
    tab.says("Name a class first")
    tab.name("sky", "tree")
    tab.page.fill("#class-name", "Sky")
    tab.page.press("#class-name", "Enter")
    tab.says("there is a class Sky")
    tab.page.keyboard.press("Escape")
    tab.choose(images[0])
    tab.paint((5, 5), (30, 20))
    tab.ready()
    tab.page.wait_for_selector("#hint:has-text('Only tree has strokes')")
    tab.page.click("#export")
    tab.page.wait_for_selector("#command:has-text('--prompt=')")


def test_strokes_survive_a_server_that_is_gone(chromium, tmp_path):
    site = Site(tmp_path)
    with contextlib.closing(chromium.new_context()) as context:
        with running(site) as address:
            tab = Tab(context, address)
            images = annotate(tab)
        tab.page.wait_for_selector("#banner:visible")
        tab.choose(images[1])
        tab.paint((10, 10), (50, 40))
        assert tab.page.evaluate("() => hummingbird.store.queue.length") == 1
        again = Site(tmp_path)  # a new process, which knows what is on disk
        with running(again, int(address.rstrip("/").rpartition(":")[2])):
            tab.page.wait_for_selector("#banner", state="hidden")
            tab.ready()
            labels = again.page.store.get(tab.id).labels(images[1])
            assert (labels != 255).any()
            np.testing.assert_array_equal(tab.array(LABELS, images[1]), labels)


def test_masks_are_downloaded(served):
    _, tab, _ = served
    images = annotate(tab)
    tab.page.click("#export")
    with tab.page.expect_download() as download:
        tab.page.click("#masks")
    with zipfile.ZipFile(download.value.path()) as file:
        mask = np.asarray(Image.open(io.BytesIO(file.read("predictions/1.png"))))
    np.testing.assert_array_equal(mask, tab.array(MASK, images[1]))


def test_classes_are_renamed_coloured_removed_and_restored(served):
    site, tab, _ = served
    images = annotate(tab)
    state = site.page.store.get(tab.id).state
    tab.page.dblclick('#classes [aria-label="red"]')
    tab.page.fill("input.rename", "rose")
    tab.page.press("input.rename", "Enter")
    tab.page.wait_for_selector('#classes [aria-label="rose"]')
    tab.page.locator('#classes [aria-label="rose"] input[type="color"]').evaluate(
        "(input) => { input.value = '#123456'; input.dispatchEvent(new Event('change')); }"
    )
    tab.page.wait_for_function("() => hummingbird.look.colourKey.startsWith('18,52,86')")
    before = tab.array(MASK, images[1])
    tab.page.hover('#classes [aria-label="rose"]')
    tab.page.click('#classes [aria-label="Remove rose"]')
    tab.ready()
    assert list(state.values().values()) == [1]
    tab.page.click(".toast >> text=Undo")
    tab.page.wait_for_selector('#classes [aria-label="rose"]')
    tab.ready()
    np.testing.assert_array_equal(tab.array(MASK, images[1]), before)
    first = next(iter(state.classes.values()))
    assert (first.name, first.colour) == ("rose", "#123456")
