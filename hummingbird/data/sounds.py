"""Labelled sounds: class folders of .wav files, ESC-50, Speech Commands; and their mel spectrograms."""

from __future__ import annotations

import csv
import functools
import io
import math
import pathlib
import struct
import warnings
from collections.abc import Callable

import numpy as np
import scipy.io.wavfile
import scipy.signal
from jaxtyping import Float, Float32

from hummingbird.data.texts import Rows, SequenceSplits, content, find, home, numbered
from hummingbird.errors import UserError, first_line

RATE = 16_000  # Hz
WINDOW, STEP, FFT = 400, 160, 512  # samples: 25 ms every 10 ms
BINS, LOWEST = 128, 20.0  # of mel frequency; Hz
PREEMPHASIS = 0.97
FLOOR = float(np.finfo(np.float32).eps)
TEST_FOLD = "1"  # of ESC-50's five folds, as in FUNGI's code


# ---------------------------------------------------------------- data sets
def class_folders(folder: pathlib.Path) -> Rows:
    """Returns the .wav files of class folders, and the names of these folders as labels."""
    return [(str(path), path.parent.name) for path in sorted(folder.glob("*/*.wav"))]


def read_folders(folder: pathlib.Path) -> tuple[Rows, Rows]:
    """Reads train/CLASS/*.wav and test/CLASS/*.wav."""
    return class_folders(folder / "train"), class_folders(folder / "test")


def read_esc50(folder: pathlib.Path) -> tuple[Rows, Rows]:
    """Reads ESC-50, audio/*.wav and meta/esc50.csv; fold 1 is the test set."""
    file = find(folder, ("meta/esc50.csv", "esc50.csv"), "data.root")
    rows = list(csv.DictReader(io.StringIO(content(file), newline="")))
    if not rows or not {"filename", "fold", "category"} <= rows[0].keys():
        raise UserError(f"{file}: expected the columns filename, fold and category")
    parts: tuple[Rows, Rows] = [], []
    for row in rows:
        parts[row["fold"] == TEST_FOLD].append((str(folder / "audio" / row["filename"]), row["category"]))
    return parts


def read_commands(folder: pathlib.Path) -> tuple[Rows, Rows]:
    """Reads Speech Commands: class folders and testing_list.txt; files in validation_list.txt are left out."""
    listed = [
        set(content(find(folder, (f"{part}_list.txt",), "data.root")).split()) for part in ("testing", "validation")
    ]
    train, test = list[tuple[str, str]](), list[tuple[str, str]]()
    for path, label in class_folders(folder):
        name = f"{label}/{pathlib.Path(path).name}"
        if not label.startswith("_") and name not in listed[1]:
            (test if name in listed[0] else train).append((path, label))
    return train, test


SOUND_SETS: dict[str, Callable[[pathlib.Path], tuple[Rows, Rows]]] = {
    "sounds": read_folders,
    "esc50": read_esc50,
    "speech_commands": read_commands,
}


def build_sounds(name: str, root: str) -> SequenceSplits:
    """Finds the files of a data set of sounds.

    Args:
      name: a key of `SOUND_SETS`.
      root: its folder, or one that holds a folder of the data set's name.

    Raises:
      UserError: there is no such data set, or its files are laid out in another way.
    """
    if name not in SOUND_SETS:
        raise UserError(
            f"config key data.name: {name!r} is not a data set of sounds; there are {', '.join(SOUND_SETS)}"
        )
    folder = home(root, name)
    train, test = SOUND_SETS[name](folder)
    if not train or not test:
        raise UserError(
            f"config key data.root: {folder} has no {'training' if not train else 'test'} sounds; "
            "configs/evaluate/sounds.py describes its layout"
        )
    return numbered(train, test, ("data.root", "data.root"))


# ---------------------------------------------------------------- spectrograms
def read_wav(path: str) -> Float32[np.ndarray, " N"]:
    """Reads a .wav file as one channel at 16 kHz in [-1, 1].

    Raises:
      UserError: it cannot be read, or is not a .wav file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.io.wavfile.WavFileWarning)  # metadata chunks
            rate, samples = scipy.io.wavfile.read(path)
    except (OSError, ValueError, struct.error) as error:
        raise UserError(f"{path} is not a .wav file that can be read ({first_line(error)})") from error
    scale = 1.0
    if samples.dtype == np.uint8:
        samples, scale = samples.astype(np.float32) - 128, 128.0
    elif np.issubdtype(samples.dtype, np.integer):
        scale = float(-np.iinfo(samples.dtype).min)
    samples = np.asarray(samples, np.float32) / np.float32(scale)
    samples = samples if samples.ndim == 1 else samples.mean(axis=1)
    shared = math.gcd(rate, RATE)
    if rate != RATE:
        samples = scipy.signal.resample_poly(samples, RATE // shared, rate // shared)
    return np.asarray(samples, np.float32)


@functools.cache
def mel_filters() -> Float[np.ndarray, "257 128"]:
    """Returns Kaldi's triangular filters: of equal width in mel, 1127 ln(1 + f / 700), and linear in it."""
    mel = lambda f: 1127 * np.log1p(np.asarray(f) / 700)
    edges = np.linspace(mel(LOWEST), mel(RATE / 2), BINS + 2)
    bins = mel(np.arange(FFT // 2 + 1) * RATE / FFT)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    return np.maximum(0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)))


def spectrogram(samples: Float[np.ndarray, " N"]) -> Float32[np.ndarray, "T 128"]:
    """Computes log mel energies as Kaldi does for AST, in a Hann window of 25 ms every 10 ms.

    Args:
      samples: at 16 kHz, in [-1, 1]; zero-padded to the length of a window.

    Example:
      >>> spectrogram(np.zeros(16000)).shape
      (98, 128)
    """
    samples = np.pad(np.asarray(samples, np.float64), (0, max(0, WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::STEP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    power = np.abs(np.fft.rfft((frames - PREEMPHASIS * before) * np.hanning(WINDOW), FFT)) ** 2
    return np.log(np.maximum(power @ mel_filters(), FLOOR)).astype(np.float32)


def sound_input(path: str, length: int, mean: float, std: float) -> Float32[np.ndarray, "T 128"]:
    """Returns a file's spectrogram, cut or zero-padded to `length` frames and normalised: (x - mean) / (2 std)."""
    found = spectrogram(read_wav(path))[:length]
    return (np.pad(found, ((0, length - len(found)), (0, 0))) - np.float32(mean)) / np.float32(2 * std)
