"""A page without a browser: Starlette's test client on a server with small images."""

from __future__ import annotations

import io
import itertools
import json
import struct
import zlib

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from hummingbird.incontext.app.engine import Engine
from hummingbird.incontext.app.routes import About, Page, build_app
from hummingbird.incontext.app.store import Store

HOST = {"base_url": "http://127.0.0.1:7860"}
KEYS = itertools.count()


class Colours:
    """The mean colour of each patch, centred."""

    patch_size, name, fingerprint = 8, "colours", "colours"

    def __call__(self, images):
        b, h, w, _ = images.shape
        return (images.reshape(b, h // 8, 8, w // 8, 8, 3).mean((2, 4)) / 127.5 - 1 + 1e-3).astype(np.float32)


def picture(seed=0, height=48, width=64):
    """A PNG file of coloured rectangles."""
    small = np.random.default_rng(seed).integers(0, 256, (-(-height // 16), -(-width // 16), 3))
    pixels = np.kron(small, np.ones((16, 16, 1)))[:height, :width].astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixels_of(data):
    return np.asarray(Image.open(io.BytesIO(data)))


class Site:
    """A running page and a session on it."""

    def __init__(self, folder, opening=lambda session: None, token="", encoder=None):
        engine = Engine(encoder or Colours(), 64)
        self.page = Page(Store(folder), engine, About("rgb:8", "colours", "a note", "here"), opening)
        self.client = TestClient(build_app(self.page, token), **HOST)

    def open(self, empty=True):
        answer = self.client.post("/api/sessions", json={"empty": empty})
        self.id = answer.json()["id"]
        self.base = f"/api/sessions/{self.id}"
        return self

    def state(self):
        return self.client.get(self.base).json()

    def send(self, *events):
        """Sends events; returns why they were refused, "" where they were not."""
        events = [{"key": f"key{next(KEYS)}", **event} for event in events]
        return self.client.post(f"{self.base}/events", json={"events": events}).json()["refused"]

    def add_class(self, name):
        assert self.send({"type": "class.add", "id": f"c-{name}", "name": name}) == [""]
        return f"c-{name}"

    def add_image(self, data, name="a.png"):
        return self.client.post(f"{self.base}/images", params={"name": name}, content=data)

    def paint(self, image, class_id, points, size=6.0, tool="brush"):
        stroke = {"id": f"s{next(KEYS)}", "tool": tool, "class": class_id, "size": size, "points": points}
        assert self.send({"type": "stroke.add", "image": image, "stroke": stroke}) == [""]
        return stroke["id"]

    def painted(self):
        """Two images, two classes, a stroke of each on the first image; returns the images' ids."""
        ids = [self.add_image(picture(seed), f"{seed}.png").json()["id"] for seed in range(2)]
        first, second = self.add_class("red"), self.add_class("blue")
        self.paint(ids[0], first, [2, 2, 30, 5])
        self.paint(ids[0], second, [40, 40, 60, 44])
        return ids

    def predict(self, *ids, side=64):
        """Returns {id: (labels, share)}, and the heads of all frames."""
        content = {"images": [{"id": id, "side": side} for id in ids]}
        answer = self.client.post(f"{self.base}/predict", json=content)
        assert answer.status_code == 200
        heads, masks, rest = [], {}, answer.content
        while rest:
            (length,) = struct.unpack("<I", rest[:4])
            head, rest = json.loads(rest[4 : 4 + length]), rest[4 + length :]
            heads.append(head)
            planes = []
            for size in head["parts"]:
                planes.append(np.frombuffer(zlib.decompress(rest[:size]), np.uint8))
                rest = rest[size:]
            if "id" in head:
                masks[head["id"]] = tuple(plane.reshape(head["height"], head["width"]) for plane in planes)
        return masks, heads
