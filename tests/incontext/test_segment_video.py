"""`hummingbird segment` on videos: frames, times, resuming, damage and temporal memory."""

import fractions
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from hummingbird import Prompt, cli
from hummingbird.incontext.segment import results
from hummingbird.incontext.segment.memory import Memory
from hummingbird.incontext.segment.video import Video
from tests.data.files import encode, write
from tests.incontext.test_segment import IDS, content, run, scene, world

av = pytest.importorskip("av")
__all__ = ["world"]  # a fixture

TIMES = (0, 40, 50, 120, 200, 240, 300)  # milliseconds


def make_video(path, count=7, size=(32, 32), codec="libx264", sound=False, **options):
    """Writes a video of scenes at uneven times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"g": "1", **options})
        stream.height, stream.width, stream.pix_fmt = *size, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = fractions.Fraction(1, 1000)
        silence = container.add_stream("aac", rate=44100) if sound else None
        container.start_encoding()
        if silence:
            write_silence(container, silence)
        for number in range(count):
            image = np.kron(scene(20 + number)[0], np.ones((-(-size[0] // 32), -(-size[1] // 32), 1), np.uint8))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[: size[0], : size[1]]), format="rgb24")
            frame.pts, frame.time_base = TIMES[number], fractions.Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_silence(container, stream):
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    frame.sample_rate = 44100
    container.mux(stream.encode(frame))
    container.mux(stream.encode())


def frames_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            (float(frame.pts * stream.time_base), frame.to_ndarray(format="rgb24"))
            for frame in container.decode(stream)
        ]


def test_a_video_becomes_a_mask_for_each_frame_and_an_overlay_with_its_times(world, capsys, caplog):
    path = make_video(world / "films/my film.mp4", sound=True)
    assert run(world, images=("films",)) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["made"]) == (1, 7)
    assert "the sound is not kept" in caplog.text
    prompt = Prompt("rgb:8", {number: str(number) for number in IDS}, input_size=32, neighbours=5)
    for seed in (0, 1):
        prompt.add(*scene(seed))
    shown = frames_of(path)
    for number, (_, image) in enumerate(shown):
        mask = Image.open(world / f"out/masks/my film.mp4/{number:06}.png")
        np.testing.assert_array_equal(np.asarray(mask), prompt.predict(image).labels)
    overlay = frames_of(world / "out/overlays/my film.mp4")
    assert [moment for moment, _ in overlay] == pytest.approx([milliseconds / 1000 for milliseconds in TIMES])
    with av.open(str(world / "out/overlays/my film.mp4")) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264"]
    rows = (world / "out/summary.csv").read_text().splitlines()[1:]
    assert [row.split(",")[1:3] for row in rows[::3]] == [
        [str(i), f"{t / 1000:g}"] for i, t in enumerate(TIMES)
    ] or rows[3].split(",")[2] == "0.04"


def test_overlays_show_the_frame_where_nothing_is_painted(world):
    path = make_video(world / "films/odd.mkv", size=(33, 47), codec="ffv1")
    assert run(world, "output.alpha=0", "output.min_confidence=1.0", "video.quality=1", images=("films",)) == 0
    before, after = frames_of(path), frames_of(world / "out/overlays/odd.mkv.mp4")
    assert after[0][1].shape == (34, 48, 3)
    unpainted = np.asarray(Image.open(world / "out/masks/odd.mkv/000000.png")) == 255
    assert unpainted.any()
    difference = np.abs(after[0][1][:33, :47].astype(int) - before[0][1])[unpainted]
    assert np.median(difference) < 10


@pytest.mark.parametrize(("after", "memory"), [(3, 0), (5, 4)])
def test_a_video_that_ends_early_resumes_to_the_same_files(world, monkeypatch, after, memory):
    make_video(world / "films/film.mp4")
    settings = (
        "output.confidence=true",
        f"video.memory={memory}",
        "video.memory_every=1",
        "video.memory_confidence=0.5",
    )
    assert run(world, *settings, images=("films",), out="whole") == 0
    real, written = results.Results.write, iter(range(after))

    def write(self, *arguments):
        if next(written, None) is None:
            raise KeyboardInterrupt
        real(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(results.Results, "write", write)
        assert run(world, *settings, images=("films",)) == cli.INTERRUPTED_STATUS
    assert run(world, *settings, images=("films",)) == 0
    resumed, whole = content(world / "out"), content(world / "whole")
    if memory:  # all frames are made again, so the journal says so
        resumed.pop("journal.jsonl"), whole.pop("journal.jsonl")
    assert resumed == whole


def test_depth_of_a_video_is_written_for_each_frame(world):
    for seed in (0, 1):
        image, mask = scene(seed)
        write(world / "deep/images" / f"{seed}.png", encode(image))
        write(world / "deep/labels" / f"{seed}.png", encode(mask.astype(np.uint16) * 10))
    make_video(world / "films/film.mp4", count=2)
    assert run(world, "task=depth", "video.memory=2", prompt="deep", images=("films",)) == 0
    assert np.asarray(Image.open(world / "out/depth/film.mp4/000001.png")).dtype == np.uint16
    assert len(frames_of(world / "out/overlays/film.mp4")) == 2
    assert (world / "out/summary.csv").read_text().count("film.mp4,") == 2


def test_memory_is_bounded_and_leaves_the_prompt_as_it_was():
    prompt = Prompt("rgb:8", {number: str(number) for number in IDS}, input_size=32, neighbours=5)
    prompt.add(*scene(0))
    held = []
    with Memory(prompt, length=4, every=2, confidence=0.5) as memory:
        for number in range(9):
            encoded = prompt.encode(scene(20 + number)[0])
            memory.add(number, encoded, prompt.predict(encoded))
            held.append(list(prompt)[1:])
    assert list(prompt) == ["1"]
    assert held[5] == ["frame 2", "frame 4"]
    assert max(map(len, held)) == 2


def cut(path, keep):
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def test_a_truncated_video_is_labelled_as_far_as_it_goes(world, caplog):
    cut(make_video(world / "films/film.mkv"), 0.8)
    assert run(world, images=("films",)) == 0
    count = len(list((world / "out/masks/film.mkv").iterdir()))
    assert 1 <= count < 7
    assert len(frames_of(world / "out/overlays/film.mkv.mp4")) == count
    assert f"film.mkv ends early: {count} of 8 frames" in caplog.text


def test_damaged_frames_are_skipped_and_counted(world, caplog):
    path = make_video(world / "films/film.mkv", codec="mjpeg")
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux() if packet.size][3]
        place, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    start = data.index(bytes(packet)[:40], place)
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    assert run(world, images=("films",)) == 0
    assert len(list((world / "out/masks/film.mkv").iterdir())) == 6
    assert len(frames_of(world / "out/overlays/film.mkv.mp4")) == 6
    assert "film.mkv: 1 damaged parts were skipped" in caplog.text


def sound_alone(path):
    with av.open(str(path), "w") as container:
        write_silence(container, container.add_stream("aac", rate=44100))


BROKEN = {
    "without frames": (lambda path: cut(make_video(path.with_suffix(".mkv")).rename(path), 0.6), "holds no frames"),
    "without a picture": (sound_alone, "holds no video stream"),
    "cut off": (lambda path: cut(make_video(path), 0.3), "is not a video that can be read, or is cut off"),
    "empty": (lambda path: path.write_bytes(b""), "is not a video that can be read"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_videos_that_cannot_be_read_are_named_after_all_others_are_done(world, capsys, case):
    make, message = BROKEN[case]
    make_video(world / "films/good.mp4", count=2)
    make(world / "films/bad.mp4")
    assert run(world, images=("films",)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "1 of 2 cannot be read, all others are done: " in error
    assert message in error
    assert (world / "out/overlays/good.mp4").exists()


def test_frames_are_turned_as_players_turn_them(tmp_path):
    path = make_video(tmp_path / "film.mp4", count=1, size=(32, 48))
    turned = tmp_path / "turned.mp4"
    with av.open(str(path)) as source, av.open(str(turned), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux():
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    data = bytearray(turned.read_bytes())
    one, place = (1 << 16).to_bytes(4, "big"), data.index(b"tkhd") + 44
    data[place : place + 36] = b"".join(
        [
            bytes(4),
            one,
            bytes(4),
            ((-1 << 16) % 2**32).to_bytes(4, "big"),
            bytes(4),
            bytes(4),
            bytes(8),
            (1 << 30).to_bytes(4, "big"),
        ]
    )
    turned.write_bytes(data)
    (straight,), (upright,) = Video(str(path)).frames(), Video(str(turned)).frames()
    assert upright.image.shape == (48, 32, 3)
    np.testing.assert_array_equal(upright.image, np.rot90(straight.image, -1))


@pytest.mark.slow
@pytest.mark.process
def test_a_killed_process_resumes_to_the_same_files(world):
    make_video(world / "photos/film.mp4")
    assert run(world, out="whole") == 0
    command = [sys.executable, "-m", "hummingbird", "segment", "--checkpoint=rgb:8", f"--prompt={world / 'my prompt'}"]
    command += ["--images", str(world / "photos"), f"--out={world / 'out'}", "--config.input_size=32"]
    command += ["--config.neighbours=5", "--config.batch_size=2"]
    for wanted in (2, 8):
        process = subprocess.Popen(command, cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
        journal = world / "out" / "journal.jsonl"
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if journal.exists() and journal.read_bytes().count(b"\n") > wanted:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        process.wait(60)
    assert run(world) == 0
    assert content(world / "out") == content(world / "whole")
