"""The page: seconds from the end of a stroke to new masks of all images, through HTTP and in a browser.

    scripts/bench serve [--checkpoint=random:vit_s16] [--images=20] [--annotated=10] [--size=512] [--strokes=10]

Starts the server of `hummingbird serve` with rendered scenes, some with strokes, encodes them all, and paints further
strokes. Prints one JSON line with, for each, the median and the worst over strokes:

- `http`: the events of a stroke are sent, and the masks of the other images come back at `size` pixels. `cpu` are the
  seconds of all cores that server and client need for it, which a busy machine changes less.
- `browser`: from the release of the mouse until the page has drawn the masks of all images, the annotated ones among
  them, at the sizes that it shows (448 pixels, 1024 on the stage); null without Chromium.
- `explain`: the patches that decided one pixel.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import pathlib
import secrets
import shutil
import statistics
import tempfile
import threading
import time

import uvicorn

from hummingbird.data.scenes import render
from hummingbird.incontext.app import opening
from hummingbird.incontext.app.routes import Page, build_app
from hummingbird.incontext.app.server import build_page, take_port
from hummingbird.incontext.app.store import SessionFolder, encode_picture

DONE = "() => hummingbird.store.shownImages.every((i) => i.mask?.revision === hummingbird.store.effective)"


def fill(page: Page, images: int, annotated: int, size: int) -> SessionFolder:
    """Makes a session of scenes, the first of them with strokes, all encoded."""
    session, events, known = page.store.create(), [], {}
    for number in range(images + annotated):
        scene = render(0, number, size)
        image = session.add_image(encode_picture(scene["image"], "PNG"), f"{number}.png")
        if number < annotated:
            events += opening.annotate(image, scene["mask"], known)
    session.append(events)
    live = page.engine.live(session)
    live.follow()
    live.predict([(picture.id, 64) for picture in session.state.shown()])
    return session


class Client:
    """Requests on one connection, as a browser keeps it."""

    def __init__(self, port: int, session: str):
        self.connection, self.base = http.client.HTTPConnection("127.0.0.1", port), f"/api/sessions/{session}"

    def post(self, path: str, content: object) -> bytes:
        """Posts JSON; returns the answer."""
        self.connection.request("POST", self.base + path, json.dumps(content), {"Content-Type": "application/json"})
        return self.connection.getresponse().read()

    def get(self, path: str) -> bytes:
        """Returns an answer."""
        self.connection.request("GET", self.base + path)
        return self.connection.getresponse().read()


def stroke(number: int, size: int, class_id: str) -> dict[str, object]:
    """Returns a stroke across the lower half of an image."""
    y = size * (0.5 + 0.45 * (number * 0.618 % 1))
    points = [round(value, 1) for x in range(40, 160, 3) for value in (x * size / 200, y)]
    return {"id": secrets.token_hex(6), "tool": "brush", "class": class_id, "size": 14, "points": points}


def measure_http(
    client: Client, session: SessionFolder, count: int, annotated: int, size: int
) -> tuple[list[float], list[float]]:
    """Returns seconds, and CPU seconds, from a stroke to the masks of all images without annotation."""
    shown = session.state.shown()
    wanted = [{"id": picture.id, "side": size} for picture in shown[annotated:]]
    classes, seconds, cpu = list(session.state.values()), [], []
    for number in range(count + 1):
        made, image = stroke(number, size, classes[number % len(classes)]), shown[number % annotated].id
        event = {"type": "stroke.add", "key": secrets.token_hex(8), "image": image, "stroke": made}
        start, start_cpu = time.perf_counter(), time.process_time()
        client.post("/events", {"events": [event]})
        client.post("/predict", {"images": wanted})
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return seconds[1:], cpu[1:]


def measure_browser(port: int, session: str, count: int) -> list[float] | None:
    """Returns the seconds from the release of the mouse to all masks on the page; None without Chromium."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        return None
    from playwright.sync_api import sync_playwright

    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"http://127.0.0.1:{port}/?session={session}")
        page.wait_for_function(f"() => window.hummingbird && ({DONE})()", timeout=600_000)
        box = page.locator("#canvas").bounding_box() or {"x": 0, "y": 0, "width": 1, "height": 1}
        for number in range(count + 1):
            x, y = box["x"] + box["width"] * 0.3, box["y"] + box["height"] * (0.15 + 0.7 * (number * 0.618 % 1))
            page.keyboard.press(str(1 + number % 4))
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x + box["width"] * 0.3, y, steps=8)
            before = page.evaluate("() => hummingbird.store.effective")
            start = time.perf_counter()
            page.mouse.up()
            page.wait_for_function(f"(before) => hummingbird.store.effective > before && ({DONE})()", arg=before)
            seconds.append(time.perf_counter() - start)
        browser.close()
    return seconds[1:]


def summary(seconds: list[float] | None) -> dict[str, float] | None:
    """Returns median and worst."""
    return seconds and {"median": round(statistics.median(seconds), 3), "worst": round(max(seconds), 3)}


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="random:vit_s16")
    for name, default in (("images", 20), ("annotated", 10), ("size", 512), ("strokes", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, take_port("127.0.0.1", 0) as listening:
        page = build_page(given.checkpoint, None, pathlib.Path(folder), 512)
        start = time.perf_counter()
        session = fill(page, given.images, given.annotated, given.size)
        prepared = time.perf_counter() - start
        server = uvicorn.Server(uvicorn.Config(build_app(page), log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        port = listening.getsockname()[1]
        client = Client(port, session.id)
        try:
            over_http, cpu = measure_http(client, session, given.strokes, given.annotated, given.size)
            explained = []
            for number in range(given.strokes):
                start = time.perf_counter()
                client.get(f"/explain?image={session.state.shown()[-1].id}&x={40 * number % given.size}&y=200")
                explained.append(time.perf_counter() - start)
            in_browser = measure_browser(port, session.id, given.strokes)
        finally:
            page.stopping = server.should_exit = True
            page.store.wake()
            thread.join()
    found = {
        "http": summary(over_http),
        "cpu": summary(cpu),
        "browser": summary(in_browser),
        "explain": summary(explained),
    }
    print(json.dumps({**vars(given), "seconds to prepare": round(prepared, 1), "seconds": found}))


if __name__ == "__main__":
    main()
