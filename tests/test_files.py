"""Arrays are read by one thread at a time: CPython 3.11's parser, which NumPy reads a header with, is not for two."""

import threading
from pathlib import Path

import numpy as np

from mtclip_edge import files


def test_two_threads_read_headers_one_after_the_other(tmp_path: Path, monkeypatch) -> None:
    inside, most, lock = [0], [0], threading.Lock()
    np.save(tmp_path / "a.npy", np.arange(6.0))
    read = np.load

    def load(*words: object, **how: object) -> np.ndarray:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        found = read(*words, **how)
        with lock:
            inside[0] -= 1
        return found

    monkeypatch.setattr(np, "load", load)
    found: list[np.ndarray] = []
    threads = [
        threading.Thread(
            target=lambda mapped=mapped: found.append(files.load_array(tmp_path / "a.npy", mapped=mapped))
        )
        for mapped in (True, False) * 8
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1 and len(found) == 16 and all(np.array_equal(one, np.arange(6.0)) for one in found)
