"""Turns texts into token ids, by the tokenizer beside a network's weights or, for random weights, by checksums."""

from __future__ import annotations

import pathlib
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Int32

from hummingbird.errors import UserError, first_line

Encode = Callable[[Sequence[str]], list[list[int]]]  # texts to ids of tokens
FIRST = 1  # id of [CLS] where ids are checksums


def build_tokenizer(folder: pathlib.Path | None, words: int, length: int) -> Encode:
    """Returns a function from texts to token ids.

    Args:
      folder: holds tokenizer.json or vocab.txt (WordPiece); None: ids are checksums of words, for random weights.
      words: rows of the network's embedding table.
      length: longest text in tokens, including those that mark its beginning and end.

    Raises:
      UserError: there is no tokenizer, it cannot be read or has more tokens than the table, or the extra is missing.
    """
    if folder is None:
        return lambda texts: [[FIRST, *map(checksum(words), text.split())][:length] for text in texts]
    try:
        import tokenizers
    except ImportError as error:
        raise UserError("data.task=text needs the extra `text`: pip install 'hummingbird-incontext[text]'") from error
    whole, vocabulary = folder / "tokenizer.json", folder / "vocab.txt"
    try:
        if whole.is_file():
            found = tokenizers.Tokenizer.from_file(str(whole))
        elif vocabulary.is_file():
            from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

            found = BertWordPieceTokenizer(str(vocabulary))
        else:
            raise UserError(f"{folder} has neither tokenizer.json nor vocab.txt; put one beside the weights")
    except Exception as error:  # the library raises plain exceptions
        if isinstance(error, UserError):
            raise
        raise UserError(f"{folder}: its tokenizer cannot be read ({first_line(error)})") from error
    if found.get_vocab_size() > words:
        raise UserError(
            f"{folder}: the tokenizer has {found.get_vocab_size()} tokens, the network {words}; they do not match"
        )
    found.no_padding()
    found.enable_truncation(length)
    return lambda texts: [one.ids for one in found.encode_batch(list(texts))]


def checksum(words: int) -> Callable[[str], int]:
    """Returns a function from a word to an id in [2, words)."""
    return lambda word: 2 + zlib.crc32(word.lower().encode()) % (words - 2)


def pad(ids: Sequence[Sequence[int]], length: int) -> tuple[Int32[np.ndarray, "N T"], Bool[np.ndarray, "N T"]]:
    """Pads ids with 0 to one length; returns them and the mask of tokens. An empty text keeps one padding token.

    Example:
      >>> pad([[5, 6], [7]], 3)[0].tolist()
      [[5, 6, 0], [7, 0, 0]]
    """
    found, mask = np.zeros((len(ids), length), np.int32), np.zeros((len(ids), length), bool)
    for row, one in enumerate(ids):
        found[row, : len(one)] = one
        mask[row, : max(1, len(one))] = True
    return found, mask
