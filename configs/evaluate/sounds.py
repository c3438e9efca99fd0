"""k-NN, few-shot and linear classification of sounds with SSAST (FUNGI, Table 11).

    hummingbird evaluate --config=configs/evaluate/sounds.py:esc50 \
        --checkpoint=SSAST-Base-Patch-400.pth --workdir=DIR --config.data.root=ROOT

ROOT holds the files as published, or a folder of the variant's name that does:

| variant | files | classes |
|---|---|---|
| (none) | train/CLASS/*.wav, test/CLASS/*.wav | any |
| esc50 | meta/esc50.csv, audio/*.wav; fold 1 is the test set, as in FUNGI's code | 50 |
| speech_commands | CLASS/*.wav, testing_list.txt, validation_list.txt | 35 |

Sounds of any sampling rate become one channel at 16 kHz, then 128 mel bins every 10 ms. The length and the statistics
of spectrograms are those of AST's recipes. `--config.sequence.stride=10` makes patches overlap, as in SSAST's
fine-tuning. This evaluation has not been run here with published weights.
"""

from hummingbird.data.sounds import SOUND_SETS

RECIPES = {
    "esc50": {"length": 512, "mean": -6.6268077, "std": 5.358466},
    "speech_commands": {"length": 128, "mean": -6.845978, "std": 5.5654526},
}


def get_config(variant="sounds"):
    """Returns the evaluation on a data set of `SOUND_SETS`."""
    name = {name: name for name in SOUND_SETS}[variant or "sounds"]
    data = {"name": name, "task": "audio"}
    return {"data": data, "sequence": RECIPES.get(name, {}), "images": {"classifiers": ["knn"]}}
