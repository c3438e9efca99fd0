"""Starts the page: finds an encoder, takes the port, serves until Ctrl-C."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import pathlib
import secrets
import signal
import socket
import sys
import threading
import warnings
import webbrowser
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from hummingbird.errors import UserError

if TYPE_CHECKING:
    from hummingbird.encoder import Encoder
    from hummingbird.incontext.app.routes import About, Page

log = logging.getLogger(__name__)

PORT, HOST = 7860, "127.0.0.1"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# kind of encoder -> side of its input, pixels; others have INPUT_SIZE. The shipped one has patches of 8 px.
INPUT_SIZES = {"shipped": 256}
INPUT_SIZE = 512
# kind of encoder -> what to expect of it
NOTES = {
    "shipped": "This small encoder comes with the package and was trained for minutes: enough to try the page, and for"
    " frames of one scene. Start with --checkpoint=timm:vit_small_patch16_224.dino (or your own) for more.",
    "rgb": "Patches are compared by their raw colours, which is enough for frames of one scene but not for other"
    " places or times. Start with --checkpoint=timm:vit_small_patch16_224.dino (or your own) for more.",
}


def serve(
    checkpoint: str,
    prompt: str | None = None,
    port: int = PORT,
    host: str = HOST,
    workdir: str | None = None,
    input_size: int | None = None,
    open_browser: bool = False,
) -> int:
    """Serves the page until Ctrl-C.

    Args:
      checkpoint: encoder, as in `hummingbird.load_encoder`.
      prompt: annotated images to begin with: a folder, or a file of `Prompt.save`; None: rendered scenes.
      port: TCP port; 0: any that is free.
      host: address to listen on; others than those of loopback can be reached from other machines.
      workdir: where sessions are kept; None: a folder in the user's cache.
      input_size: side of the encoder's input, pixels; None: 512, 256 for the shipped encoder.
      open_browser: open the page in a browser.

    Returns:
      The exit status.

    Raises:
      UserError: the extra is missing, the port is in use, or an argument cannot be used.
    """
    check_installed()
    warnings.filterwarnings("ignore", "the prompt holds annotated pixels of one class")  # the page says so
    from hummingbird.incontext.app.routes import build_app

    folder = pathlib.Path(workdir) if workdir else default_workdir()
    with take_port(host, port) as listening, hold_workdir(folder):
        page = build_page(checkpoint, prompt, folder, input_size)
        token = "" if host in LOOPBACK else secrets.token_urlsafe(24)
        address = page_address(host, listening.getsockname()[1], token)
        announce(address, page.about, token)
        if open_browser:
            threading.Timer(0.5, webbrowser.open, [address]).start()
        run(build_app(page, token), page, listening)
    print("stopped; the next start finds all sessions again", file=sys.stderr)
    return 0


def check_installed() -> None:
    """Raises UserError if the extra `app` is missing."""
    absent = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if absent:
        raise UserError(f"serve needs {' and '.join(absent)}: pip install 'hummingbird-incontext[app]'")


def take_port(host: str, port: int) -> socket.socket:
    """Returns a socket that listens. Raises UserError if the port is in use or the host is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except OverflowError as error:
        listening.close()
        raise UserError(f"--port={port} is not a port; give one between 1024 and 65535") from error
    except OSError as error:
        listening.close()
        raise UserError(
            f"--port={port} on {host} cannot be used ({error.strerror}); give another, or 0 for any"
        ) from error
    return listening


@contextlib.contextmanager
def hold_workdir(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other servers out of a workdir. Raises UserError if one is there, or it cannot be written."""
    from hummingbird.run import locks

    busy = f"workdir {folder}: another `hummingbird serve` is using it"
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locks.hold(folder / ".lock", busy, "use its page, stop it, or give another --workdir"))
        except OSError as error:
            raise UserError(f"workdir {folder} cannot be written ({error.strerror}); give another --workdir") from error
        yield


def default_workdir() -> pathlib.Path:
    """Returns where sessions are kept by default."""
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "hummingbird" / "serve"


def build_page(checkpoint: str, prompt: str | None, workdir: pathlib.Path, input_size: int | None) -> Page:
    """Loads the encoder and builds the endpoints."""
    from hummingbird.encoder import load_encoder
    from hummingbird.incontext.app.engine import Engine
    from hummingbird.incontext.app.opening import build_opening
    from hummingbird.incontext.app.routes import About, Page
    from hummingbird.incontext.app.store import Store

    kind = checkpoint.partition(":")[0] if ":" in checkpoint else ""
    opening = build_opening(prompt)
    encoder: Encoder = load_encoder(checkpoint)
    given = os.path.abspath(prompt) if prompt else ""
    about = About(checkpoint, getattr(encoder, "name", checkpoint), NOTES.get(kind, ""), str(workdir), given)
    return Page(
        Store(workdir),
        Engine(encoder, INPUT_SIZES.get(kind, INPUT_SIZE) if input_size is None else input_size),
        about,
        opening,
    )


def page_address(host: str, port: int, token: str) -> str:
    """Returns the address of the page."""
    name = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/" + (f"?token={token}" if token else "")


def announce(address: str, about: About, token: str) -> None:
    """Prints where the page is and what it uses."""
    print(f"page: {address}   (Ctrl-C ends)", flush=True)
    print(f"encoder: {about.name}; sessions are kept in {about.workdir}", file=sys.stderr)
    if token:
        log.warning("--host: other machines can reach this page; whoever has its address, with the token, can use it")


def run(app: object, page: Page, listening: socket.socket) -> None:
    """Runs uvicorn until SIGINT or SIGTERM."""
    import uvicorn

    class Server(uvicorn.Server):
        """Answers those who wait for events when a signal arrives, so that their connections end at once."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            page.stopping = True
            page.store.wake()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_level="warning",
        lifespan="off",
        access_log=False,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)  # uvicorn raises the signal again at its end
    try:
        Server(config).run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn has ended cleanly and raises the signal again
        return
    finally:
        signal.signal(signal.SIGTERM, before)
