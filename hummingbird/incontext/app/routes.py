"""What the page asks of the server: an HTTP interface in JSON, with pictures, masks and files beside it.

    POST /api/sessions                              {empty: false}                      -> {id}
    GET  /api/opening                               what new sessions show              -> {opening}
    GET  /api/sessions/ID                           its state, the encoder, the limits
    POST /api/sessions/ID/events                    {events: [...]}                     -> {revision, refused: [...]}
    GET  /api/sessions/ID/events?since=N&wait=20    events after revision N, as soon as there are some
    POST /api/sessions/ID/images?name=NAME          the file is the body                -> {id}
    GET  /api/sessions/ID/images/IMAGE/view|tile|mask
    POST /api/sessions/ID/predict                   {images: [{id, side}]}              -> frames, see `frame`
    GET  /api/sessions/ID/explain?image=I&x=X&y=Y   the patches that decided a pixel
    GET  /api/sessions/ID/masks.zip | prompt.npz | command

A mistake of the user is answered with status 400 and {error: one line}, which the page shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import logging
import pathlib
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from hummingbird.errors import UserError, first_line
from hummingbird.incontext.app import exports, session
from hummingbird.incontext.app.engine import Engine, Live
from hummingbird.incontext.app.guard import Guard
from hummingbird.incontext.app.requests import integer, objects, read_body, read_json
from hummingbird.incontext.app.store import MOST_BYTES, MOST_IMAGES, MOST_PIXELS, SessionFolder, Store
from hummingbird.incontext.app.strokes import number
from hummingbird.run.files import Json

log = logging.getLogger(__name__)

STATIC = pathlib.Path(__file__).parent / "static"
LONGEST_WAIT = 25.0  # seconds
MOST_SIDE = 2048  # of a predicted mask, pixels
MOST_EXPLAINED = 12
TOGETHER = 4  # images predicted on the cores side by side
PICTURES = {"view": ".view.jpg", "tile": ".tile.jpg"}

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclasses.dataclass(frozen=True)
class About:
    """What the page says about its encoder.

    Attributes:
      checkpoint: as `--checkpoint` takes it.
      name: of the encoder.
      note: what to expect of it; "" if there is nothing to say.
      workdir: where sessions are kept.
      opening: what new sessions show: the path of --prompt; "" for rendered scenes. A browser returns to the last
        session that it had of the same.
    """

    checkpoint: str
    name: str
    note: str
    workdir: str
    opening: str = ""


class Page:
    """The endpoints.

    Args:
      store: the sessions.
      engine: computes.
      about: see there.
      open_session: fills a new session.
    """

    def __init__(self, store: Store, engine: Engine, about: About, open_session: Callable[[SessionFolder], None]):
        self.store, self.engine, self.about, self.open_session = store, engine, about, open_session
        self.stopping = False
        self._computing: anyio.CapacityLimiter | None = None

    async def compute(self, function: Callable[[], T]) -> T:
        """Runs a computation in a thread, one at a time: each uses all cores."""
        if self._computing is None:
            self._computing = anyio.CapacityLimiter(1)
        return await anyio.to_thread.run_sync(function, limiter=self._computing)

    # ------------------------------------------------------------ sessions
    async def create(self, request: Request) -> Response:
        """Makes a session, an empty one if {empty: true}."""
        content = await read_json(request)
        made = await run_in_threadpool(self.store.create)
        if not content.get("empty"):
            await self.compute(lambda: self.open_session(made))
        return JSONResponse({"id": made.id})

    async def opening(self, request: Request) -> Response:
        """Returns what new sessions show."""
        return JSONResponse({"opening": self.about.opening})

    async def state(self, request: Request) -> Response:
        """Returns everything that the page shows."""
        found = await self._session(request)
        with found.lock:
            described = session.describe(found.state)
        limits = {"bytes": MOST_BYTES, "pixels": MOST_PIXELS, "images": MOST_IMAGES, "classes": session.MOST_CLASSES}
        return JSONResponse({**described, "about": dataclasses.asdict(self.about), "limits": limits})

    async def post_events(self, request: Request) -> Response:
        """Applies events."""
        found, content = await self._session(request), await read_json(request)
        events = objects(content, "events")
        refused = await run_in_threadpool(lambda: found.append(events, from_page=True))
        return JSONResponse({**_revisions(found), "refused": refused})

    async def get_events(self, request: Request) -> Response:
        """Returns the events after a revision; waits for some if there are none."""
        found, since = await self._session(request), integer(request, "since")
        wait = min(float(integer(request, "wait", 0)), LONGEST_WAIT)
        loop, happened = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(happened.set)

        with found.listening(wake):
            if not found.since(since) and wait > 0 and not self.stopping:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(happened.wait(), wait)
        return JSONResponse({**_revisions(found), "events": found.since(since)})

    # ------------------------------------------------------------ images
    async def add_image(self, request: Request) -> Response:
        """Adds an image."""
        found, name = await self._session(request), request.query_params.get("name", "image")[-200:]
        data = await read_body(request, MOST_BYTES, name)
        return JSONResponse({"id": await run_in_threadpool(lambda: found.add_image(data, name))})

    async def picture(self, request: Request) -> Response:
        """Returns a picture of an image, or its mask as bytes."""
        found = await self._session(request)
        image, kind = request.path_params["image"], request.path_params["kind"]
        if kind == "mask":
            mask = await run_in_threadpool(lambda: found.mask(image))
            return Response(zlib.compress(mask.tobytes(), 1), media_type="application/octet-stream")
        if kind not in PICTURES:
            raise UserError(f"{kind}: use view, tile or mask")
        path = found.file(image, PICTURES[kind])
        if not path.exists():
            raise UserError(f"{found.picture(image).name}: its file is gone from {path.parent}")
        return FileResponse(path, headers={"Cache-Control": "private, max-age=31536000, immutable"})

    # ------------------------------------------------------------ predictions
    async def predict(self, request: Request) -> Response:
        """Streams masks of images, in the order in which they are listed."""
        found, content = await self._session(request), await read_json(request)
        wanted = [(str(item.get("id")), _side(item.get("side"))) for item in objects(content, "images")]
        return StreamingResponse(self._frames(found, wanted), media_type="application/octet-stream")

    async def _frames(self, found: SessionFolder, wanted: list[tuple[str, int]]) -> AsyncIterator[bytes]:
        live, revision = self.engine.live(found), found.state.effective
        try:
            await self.compute(live.follow)
            values: list[Json] = list(live.annotated_values())
            yield frame({"revision": revision, "values": values})
            rest = wanted if values else []
            while rest and found.state.effective == revision and not self.stopping:  # else the page asks again
                count = _together(live, rest)
                yield await self.compute(functools.partial(_predicted, live, rest[:count], revision))
                rest = rest[count:]
        except UserError as error:
            yield frame({"revision": revision, "error": str(error)})
        except Exception as error:
            log.exception("the prediction failed")
            yield frame({"revision": revision, "error": f"the prediction failed: {first_line(error)}"})

    async def explain(self, request: Request) -> Response:
        """Returns the patches that decided a pixel."""
        found, image = await self._session(request), request.query_params.get("image", "")
        y, x, live = integer(request, "y"), integer(request, "x"), self.engine.live(found)

        def explained() -> list[Json]:
            live.follow()
            return [dataclasses.asdict(near) for near in live.explain(image, y, x, MOST_EXPLAINED)]

        return JSONResponse({"neighbours": await self.compute(explained)})

    # ------------------------------------------------------------ exports
    async def masks(self, request: Request) -> Response:
        """Returns the masks of all images as a zip file."""
        found = await self._session(request)
        content = await self.compute(lambda: exports.masks_zip(found, self.engine.live(found)))
        return _download(content, "masks.zip", "application/zip")

    async def prompt(self, request: Request) -> Response:
        """Returns the file that `Prompt.save` writes."""
        found = await self._session(request)
        path = await self.compute(lambda: exports.save_prompt(found, self.engine))
        return FileResponse(path, filename="prompt.npz")

    async def command(self, request: Request) -> Response:
        """Writes the annotated images beside the session; returns the command that labels a folder from them."""
        found = await self._session(request)
        path = await self.compute(lambda: exports.save_folder(found, self.engine.live(found)))
        settings = {**dataclasses.asdict(found.state.settings), "input_size": self.engine.input_size}
        return JSONResponse({"command": exports.command(self.about.checkpoint, path, settings), "prompt": str(path)})

    async def _session(self, request: Request) -> SessionFolder:
        return await run_in_threadpool(lambda: self.store.get(request.path_params["session"]))


def frame(head: Json, *parts: bytes) -> bytes:
    """Returns a frame of a stream: length of the head in 4 bytes, head in JSON, parts.

    The head lists the lengths of the parts.
    """
    assert isinstance(head, dict)
    text = json.dumps({**head, "parts": [len(part) for part in parts]}).encode()
    return struct.pack("<I", len(text)) + text + b"".join(parts)


def _together(live: Live, wanted: list[tuple[str, int]]) -> int:
    """Returns how many images to predict before the next answer: few, and one alone if it has to be encoded."""
    ready = [live.has_features(id) for id, _ in wanted[:TOGETHER]]
    return max(1, ready.index(False)) if False in ready else len(ready)


def _predicted(live: Live, wanted: list[tuple[str, int]], revision: int) -> bytes:
    """Returns a frame for each image: its class values and vote shares, each compressed by zlib."""
    frames = []
    for (id, side), masks in zip(wanted, live.predict(wanted), strict=True):
        height, width = masks.labels.shape
        head: dict[str, Json] = {"id": id, "revision": revision, "height": height, "width": width, "side": side}
        parts = (zlib.compress(plane.tobytes(), 1) for plane in (masks.labels, masks.share))
        frames.append(frame(head, *parts))
    return b"".join(frames)


# ---------------------------------------------------------------- the application
def build_app(page: Page, token: str = "") -> Starlette:
    """Builds the ASGI application.

    Args:
      page: the endpoints.
      token: what requests have to know; "" on loopback.
    """
    under = "/api/sessions/{session}"
    routes = [
        Route("/", _index),
        Route("/api/opening", _answering(page.opening)),
        Route("/api/sessions", _answering(page.create), methods=["POST"]),
        Route(under, _answering(page.state)),
        Route(f"{under}/events", _answering(page.get_events), methods=["GET"]),
        Route(f"{under}/events", _answering(page.post_events), methods=["POST"]),
        Route(f"{under}/images", _answering(page.add_image), methods=["POST"]),
        Route(f"{under}/images/{{image}}/{{kind}}", _answering(page.picture)),
        Route(f"{under}/predict", _answering(page.predict), methods=["POST"]),
        Route(f"{under}/explain", _answering(page.explain)),
        Route(f"{under}/masks.zip", _answering(page.masks)),
        Route(f"{under}/prompt.npz", _answering(page.prompt)),
        Route(f"{under}/command", _answering(page.command)),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, token=token)])


async def _index(request: Request) -> Response:
    return FileResponse(STATIC / "index.html")


def _answering(endpoint: Endpoint) -> Endpoint:
    """Turns exceptions of an endpoint into answers that the page can show."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except UserError as error:
            return JSONResponse({"error": str(error)}, 400)
        except ClientDisconnect:
            return Response(status_code=400)
        except (KeyError, TypeError, ValueError) as error:
            log.exception("a request could not be read")
            return JSONResponse({"error": f"the request is not understood: {first_line(error)}"}, 400)
        except Exception as error:
            log.exception("a request failed")
            return JSONResponse({"error": f"the server failed: {first_line(error)}"}, 500)

    return answer


def _download(content: bytes, name: str, kind: str) -> Response:
    return Response(content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _revisions(found: SessionFolder) -> dict[str, Json]:
    with found.lock:
        return {"revision": found.state.revision, "effective": found.state.effective}


def _side(value: Json) -> int:
    return min(max(int(number(value, "side")), 16), MOST_SIDE)
