"""k-NN, few-shot and linear classification of texts with BERT or T5's encoder (FUNGI, Table 5).

    hummingbird evaluate --config=configs/evaluate/texts.py:trec \
        --checkpoint=hf:google-bert/bert-base-uncased --workdir=DIR --config.data.root=ROOT

ROOT holds the files as published, or a folder of the variant's name that does:

| variant | files | classes |
|---|---|---|
| (none) | train.csv and test.csv (or .tsv), with a header that names the columns text and label | any |
| trec | train_5500.label, TREC_10.label | 6 |
| banking77 | train.csv, test.csv | 77 |
| sst | train.txt, test.txt (or in trees/), parse trees with labels | 5 |
| ag_news | train.csv, test.csv | 4 |
| tweet_eval | of one task, such as emoji: train_text.txt, train_labels.txt, test_text.txt, test_labels.txt | 20 |

The tokenizer, tokenizer.json or vocab.txt beside the weights, needs the extra `text`. `--config.features.gradients=kl`
adds gradients; settings under `images` choose classifiers and few shots. This evaluation has not been run here with
published weights.
"""

from hummingbird.data.texts import TEXT_SETS


def get_config(variant="texts"):
    """Returns the evaluation on a data set of `TEXT_SETS`."""
    names = {name: name for name in TEXT_SETS}
    return {"data": {"name": names[variant or "texts"], "task": "text"}, "images": {"classifiers": ["knn"]}}
