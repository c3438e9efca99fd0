"""One writer and many readers: every answer is that of some state of the prompt."""

import concurrent.futures
import threading

import numpy as np

from tests.incontext.test_prompt import VOID, filled, scene


def test_readers_see_whole_states_while_a_writer_writes():
    prompt = filled(2)
    query = prompt.encode(scene(9)[0])
    image, label = scene(1)
    states = [np.where(np.arange(61) // 20 == i, label, VOID) for i in range(3)]
    expected = set()
    for state in states:
        prompt.relabel("scene 1", state)
        expected.add(prompt.predict(query.image).labels.tobytes())
    prompt.remove("scene 1")
    expected.add(prompt.predict(query.image).labels.tobytes())
    assert len(expected) == 4
    done = threading.Event()

    def read(kept):
        found = set()
        while not done.is_set():
            found.add(prompt.predict(query if kept else query.image).labels.tobytes())
            assert sum(x.weight for x in prompt.explain(query, 3, 3)) > 0.999
            assert len(list(prompt)) in (1, 2)
        return found

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read, kept) for kept in (True, False, True, False)]
        try:
            encoded = prompt.encode(image)
            for _ in range(15):
                prompt.add(encoded, states[0], id="scene 1")
                prompt.relabel("scene 1", states[1])
                prompt.relabel("scene 1", states[2])
                prompt.remove("scene 1")
        finally:
            done.set()
        for reader in readers:
            assert reader.result() <= expected
