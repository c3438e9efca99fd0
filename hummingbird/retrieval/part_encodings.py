"""Parts of the prompt, encoded in as few passes as the memory allows.

A part keeps more patches of each image the smaller it is, so that one bank for all parts of Sec. 4.2 is several times
as long as the longest of them: 74 million entries for PASCAL VOC instead of 20 (115 GB instead of 32 at 768 dimensions
in bfloat16), 112 million for ADE20K (175 GB), 228 million for COCO-Stuff (358 GB). Where that fits, every image is
encoded once. Otherwise, successive parts share a bank for as long as the memory holds it and a copy of the part being
searched; the next parts are then encoded again. If the memory holds a single bank only, each part is encoded on its
own. The parts of one draw are nested, so those share first.

The scores do not depend on how parts are grouped: patches are chosen in one fixed order, and the type of keys is
decided by the longest bank of all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from hummingbird.retrieval.bank.patch_bank import PatchBank
from hummingbird.retrieval.capacity import check_room, entries_in_memory
from hummingbird.retrieval.evaluation import Evaluation
from hummingbird.retrieval.index.build import Index
from hummingbird.retrieval.preflight import preflight
from hummingbird.retrieval.processes import gather, together
from hummingbird.retrieval.protocol import EvalProtocol
from hummingbird.retrieval.query import QueryBatch
from hummingbird.retrieval.query_store import QueryStore
from hummingbird.retrieval.search import index_bank
from hummingbird.retrieval.selection import drawn_parts, nested
from hummingbird.retrieval.shared_encoding import SharedEncoding, plan_shared, share_encoding


class PartEncodings:
    """The banks of an evaluation and of its parts, in memory; see `hummingbird.retrieval.encodings.Encodings`.

    Args:
      evaluation: whole evaluation with `data.fractions`.
    """

    def __init__(self, evaluation: Evaluation):
        data, protocol = evaluation.data, evaluation.protocol
        parts = nested(drawn_parts(protocol, data.fractions, data.subsets))
        protocols = [protocol, *(part for part in parts if part != protocol)]
        length, retrieval = len(evaluation.prompt), evaluation.retrieval
        self._evaluation, self._longest = evaluation, plan_shared(length, protocols).longest
        dim = preflight(evaluation)
        together(lambda: check_room(self._longest, dim, retrieval, None))
        rooms = gather(entries_in_memory(self._longest, dim, retrieval))
        known = [room for room in rooms if room is not None]
        self._groups = group_parts(length, protocols, min(known, default=None))
        self._current: tuple[int, SharedEncoding] | None = None
        self._queries = QueryStore()

    def bank(self, evaluation: Evaluation) -> PatchBank:
        """Returns the bank of an evaluation or a part; encodes its group if another one was in memory."""
        number = next(i for i, group in enumerate(self._groups) if evaluation.protocol in group)
        if self._current is None or self._current[0] != number:
            self._current = None  # one group at a time
            shared = share_encoding(self._evaluation, self._groups[number], "", self._queries, self._longest)
            self._current = number, shared
        return self._current[1].bank(evaluation)

    def index(self, evaluation: Evaluation, bank: PatchBank) -> Index:
        """Builds the index."""
        return index_bank(evaluation, bank)

    def query_batches(self, evaluation: Evaluation, shown: Collection[int] = ()) -> Iterator[QueryBatch]:
        """Yields this process's query images; only those numbered in `shown` come with their pictures."""
        return self._queries.batches(evaluation, shown)


def group_parts(length: int, protocols: Sequence[EvalProtocol], room: int | None) -> list[list[EvalProtocol]]:
    """Divides banks into groups that are encoded together.

    Args:
      length: images of the prompt.
      protocols: of the banks, in the order in which they will be needed.
      room: entries that fit the memory, of the bank of a group and the one that is cut from it; None: any number.
    """
    groups = [[protocols[0]]]
    for protocol in protocols[1:]:
        plan = plan_shared(length, [*groups[-1], protocol])
        if room is None or plan.capacity + plan.longest <= room:
            groups[-1].append(protocol)
        else:
            groups.append([protocol])
    return groups
