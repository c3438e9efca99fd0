"""Sounds with classes, and their spectrograms against another implementation of Kaldi's."""

import numpy as np
import pytest
import scipy.io.wavfile

from hummingbird.data.sounds import build_sounds, read_wav, sound_input, spectrogram
from hummingbird.errors import UserError
from tests.weights.upstream import upstream


def tone(pitch, seconds=0.3, rate=16_000, seed=0):
    """A tone with some noise, 16 bits."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(size=len(time))
    return (8000 * np.sin(2 * np.pi * pitch * time) + 300 * noise).astype(np.int16)


def write(path, samples, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.wavfile.write(path, rate, samples)


def write_sounds(folder):
    """Two pitches: three training sounds and one test sound of each."""
    for name, pitch in (("low", 200), ("high", 3000)):
        for number in range(4):
            part = "test" if number == 3 else "train"
            write(folder / part / name / f"{number}.wav", tone(pitch * (1 + number / 20), seed=number))


@pytest.mark.parity
def test_spectrograms_are_those_of_the_ast_feature_extractor(monkeypatch):
    module = upstream(
        "transformers.models.audio_spectrogram_transformer.feature_extraction_audio_spectrogram_transformer"
    )
    monkeypatch.setattr(module, "is_speech_available", lambda: False)  # its NumPy form, which needs no torchaudio
    samples = tone(440, 0.5).astype(np.float32) / 32768
    theirs = module.ASTFeatureExtractor(max_length=64, do_normalize=False)(samples, sampling_rate=16_000)
    found = spectrogram(samples)
    np.testing.assert_allclose(found, np.asarray(theirs["input_values"])[0][: len(found)], atol=2e-3)


def test_files_of_any_width_and_rate_become_the_same_sound(tmp_path):
    whole = tone(440)
    pairs = {
        "i16": whole,
        "i32": whole.astype(np.int32) * 65536,
        "f32": whole.astype(np.float32) / 32768,
        "stereo": np.stack([whole, whole], axis=1),
    }
    for name, samples in pairs.items():
        write(tmp_path / f"{name}.wav", samples)
        np.testing.assert_allclose(read_wav(str(tmp_path / f"{name}.wav")), whole / 32768, atol=1e-6)
    write(tmp_path / "fast.wav", tone(440, rate=44_100), 44_100)
    assert len(read_wav(str(tmp_path / "fast.wav"))) == len(whole)
    made = sound_input(str(tmp_path / "i16.wav"), 40, mean=-4.0, std=4.0)
    assert made.shape == (40, 128)
    np.testing.assert_allclose(made[-1], 0.5)  # padding is zero before it is normalised


def test_published_folders_are_split_as_their_authors_say(tmp_path):
    write_sounds(tmp_path / "sounds")
    splits = build_sounds("sounds", str(tmp_path))
    assert (splits.classes, len(splits.train.items), len(splits.test.items)) == (["high", "low"], 6, 2)
    rows = "filename,fold,target,category\n1-a.wav,1,0,dog\n2-a.wav,2,0,dog\n3-b.wav,3,1,rain\n"
    (tmp_path / "esc50" / "meta").mkdir(parents=True)
    (tmp_path / "esc50" / "meta" / "esc50.csv").write_text(rows)
    splits = build_sounds("esc50", str(tmp_path))
    assert [item.rpartition("/")[2] for item in splits.test.items] == ["1-a.wav"]
    assert splits.classes == ["dog", "rain"]
    commands = tmp_path / "speech_commands"
    for name in ("yes/a", "yes/b", "yes/c", "no/a", "_background_noise_/a"):
        write(commands / f"{name}.wav", tone(300, 0.05))
    (commands / "testing_list.txt").write_text("yes/a.wav\n")
    (commands / "validation_list.txt").write_text("yes/b.wav\n")
    splits = build_sounds("speech_commands", str(tmp_path))
    assert [item.rpartition("commands/")[2] for item in splits.train.items] == ["no/a.wav", "yes/c.wav"]


def test_other_folders_and_files_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"'music' is not a data set of sounds; there are sounds, esc50"):
        build_sounds("music", str(tmp_path))
    with pytest.raises(UserError, match=r"data.root: .* has no training sounds; configs/evaluate/sounds.py describes"):
        build_sounds("sounds", str(tmp_path))
    with pytest.raises(UserError, match=r"there is no testing_list.txt in"):
        build_sounds("speech_commands", str(tmp_path))
    (tmp_path / "a.wav").write_text("RIFX")
    with pytest.raises(UserError, match=r"a.wav is not a .wav file that can be read"):
        read_wav(str(tmp_path / "a.wav"))
