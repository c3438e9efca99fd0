"""Texts with classes: the published files of every data set, and what is refused."""

import pytest

from hummingbird.data.texts import build_texts
from hummingbird.data.tokens import build_tokenizer, pad
from hummingbird.errors import UserError

WORDS = {"food": ("bread", "cheese", "apple", "soup"), "sky": ("cloud", "rain", "sun", "moon")}
FILES = {
    "texts": {"train.csv": 'text,label\n"rain, sun",sky\nsoup,food\n', "test.csv": "text,label\nmoon,sky\n"},
    "banking77": {"train.csv": "text,category\nrain,sky\nsoup,food\n", "test.csv": "text,category\nmoon,sky\n"},
    "trec": {
        "train_5500.label": "DESC:manner How \xe9 ?\nNUM:date When ?\n",
        "TREC_10.label": "NUM:dist How far ?\n",
    },
    "sst": {"trees/train.txt": "(3 (2 It) (4 works))\n(1 (2 -LRB-) (0 bad))\n", "test.txt": "(3 (2 Nice) (2 .))\n"},
    "ag_news": {"train.csv": '"3","Oil","Up, again"\n"4","Chip","New"\n', "test.csv": '"4","Web","Old"\n'},
    "tweet_eval": {
        "train_text.txt": "so nice\nso sad\n",
        "train_labels.txt": "0\n1\n",
        "test_text.txt": "sad\n",
        "test_labels.txt": "1\n",
    },
}
FIRST = {
    "texts": ("rain, sun", "sky", "moon", "sky"),
    "banking77": ("rain", "sky", "moon", "sky"),
    "trec": ("How \xe9 ?", "DESC", "How far ?", "NUM"),
    "sst": ("It works", "3", "Nice .", "3"),
    "ag_news": ("Oil Up, again", "3", "Web Old", "4"),
    "tweet_eval": ("so nice", "0", "sad", "1"),
}


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode("latin-1" if name.endswith(".label") else "utf-8"))


def write_texts(folder):
    """Texts of two classes, whose words tell them apart: three training texts of each, two test texts."""
    lines = {"train.csv": ["text,label"], "test.csv": ["text,label"]}
    for label, (a, b, c, d) in WORDS.items():
        lines["train.csv"] += [f"{a} {b} {c},{label}", f"{b} {c} {d},{label}", f"{c} {d} {a},{label}"]
        lines["test.csv"].append(f"{d} {a} {b},{label}")
    write(folder, {name: "\n".join(rows) + "\n" for name, rows in lines.items()})


@pytest.mark.parametrize("name", FILES)
def test_published_files_are_read_as_they_are(name, tmp_path):
    write(tmp_path / name, FILES[name])
    splits = build_texts(name, str(tmp_path))  # in a folder of several data sets
    text, label, asked, truth = FIRST[name]
    assert (splits.train.items[0], splits.classes[splits.train.labels[0]]) == (text, label)
    assert (splits.test.items[0], splits.classes[splits.test.labels[0]]) == (asked, truth)
    assert len(splits.train.items) == 2


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("texts", {"train.csv": "a,b\n1,2\n", "test.csv": ""}, r"its first line must name the columns text and label"),
        ("texts", {"train.csv": "text,label\n,sky\n"}, r"train.csv, line 2: text or label is missing"),
        ("texts", {"train.tsv": "text\tlabel\na\tx\nb\ty\n"}, r"data.query: there is no test.csv or test.tsv in"),
        ("trec", {"train_5500.label": "How ?\n"}, r"line 1: expected CLASS:detail and a question"),
        ("sst", {"train.txt": "It works\n"}, r"line 1: expected a tree such as"),
        ("ag_news", {"train.csv": "3,Oil\n"}, r"row 1: expected class, title and description"),
        ("tweet_eval", {"train_text.txt": "a\nb\n", "train_labels.txt": "0\n"}, r"has 2 lines, train_labels.txt has 1"),
        ("imdb", {}, r"'imdb' is not a data set of texts; there are texts, banking77"),
    ],
)
def test_other_files_are_refused_in_one_line(name, files, message, tmp_path):
    write(tmp_path, files)
    with pytest.raises(UserError, match=message):
        build_texts(name, str(tmp_path))


def test_classes_have_to_be_those_of_the_training_texts(tmp_path):
    train, other = "text,label\na,x\nb,y\n", "text,label\na,z\n"
    write(tmp_path, {"train.csv": train, "test.csv": other, "one.csv": "text,label\na,x\n"})
    with pytest.raises(UserError, match=r"class 'z' is not among the training samples"):
        build_texts("texts", str(tmp_path))
    with pytest.raises(UserError, match=r"all samples are of class 'x'; nothing to classify"):
        build_texts("texts", str(tmp_path), "one.csv", "one.csv")


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##want", "##ed", "run", ",", "caf"]


def test_word_pieces_are_those_of_the_vocabulary(tmp_path):
    pytest.importorskip("tokenizers", reason="needs the extra `text`")
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY))
    tokenize = build_tokenizer(tmp_path, 20, 8)
    assert tokenize(["UNwanted, running", "run run run run run run run run"]) == [
        [2, 5, 6, 7, 9, 1, 3],
        [2, 8, 8, 8, 8, 8, 8, 3],
    ]


def test_a_tokenizer_file_wins_and_has_to_fit(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra `text`")
    model = tokenizers.models.Unigram(
        [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581a", -1.0), ("b", -2.0)], 2
    )
    whole = tokenizers.Tokenizer(model)
    whole.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    whole.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "vocab.txt").write_text("[UNK]")
    assert build_tokenizer(tmp_path, 5, 8)(["ab a"]) == [[3, 4, 3]]
    with pytest.raises(UserError, match=r"the tokenizer has 5 tokens, the network 4"):
        build_tokenizer(tmp_path, 4, 8)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"its tokenizer cannot be read"):
        build_tokenizer(tmp_path, 5, 8)


def test_without_a_tokenizer_weights_are_refused_and_random_ones_take_checksums(tmp_path):
    pytest.importorskip("tokenizers", reason="needs the extra `text`")
    with pytest.raises(UserError, match=r"neither tokenizer.json nor vocab.txt"):
        build_tokenizer(tmp_path, 5, 8)
    first, second = build_tokenizer(None, 50, 3)(["Rain rain sun moon", ""])
    assert first[1] == first[2]
    assert len(first) == 3
    ids, mask = pad([first, second, []], 4)
    assert ids.shape == (3, 4)
    assert mask.sum(axis=1).tolist() == [3, 1, 1]
