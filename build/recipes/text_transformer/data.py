"""Text that comes with Python: is a piece of 96 bytes English prose or source code?

The prose is the language reference that ``help()`` shows (``pydoc_data.topics``), the code is the standard library's.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import numpy.typing as npt

LENGTH = 96
PER_CLASS = 2000
HELD_OUT_SHARE = 0.25
SPLIT_SEED = 0
CALIBRATION = 256
PROSE, CODE = 0, 1

Tokens = npt.NDArray[np.int64]


def split() -> tuple[tuple[Tokens, Tokens], tuple[Tokens, Tokens]]:
    """Return (training, held-out) pairs of pieces [N, 96], byte values 0 to 127, and labels [N].

    Whole topics and whole files are held out: no piece of a held-out text was trained on.
    """
    library = Path(sysconfig.get_path("stdlib"))
    files = sorted(path for path in library.glob("*.py") if path.stat().st_size > 10 * LENGTH)
    code = [path.read_text(encoding="utf-8", errors="ignore") for path in files]
    prose = [topics[name] for name in sorted(topics)]
    parts: list[list[Tokens]] = [[], []]
    for texts in (prose, code):
        generator = np.random.default_rng(SPLIT_SEED)
        order = generator.permutation(len(texts))
        border = int(len(texts) * HELD_OUT_SHARE)
        for part, chosen in ((0, order[border:]), (1, order[:border])):
            count = round(PER_CLASS * (HELD_OUT_SHARE if part else 1 - HELD_OUT_SHARE))
            parts[part].append(_pieces([texts[i] for i in chosen], count, generator))
    train, held_out = (
        (np.concatenate(pieces), np.repeat([PROSE, CODE], [len(piece) for piece in pieces])) for pieces in parts
    )
    return train, held_out


def evaluation() -> tuple[dict[str, Tokens], Tokens]:
    """Return the held-out pieces and their labels."""
    tokens, labels = split()[1]
    return {"tokens": tokens}, labels


def calibration() -> dict[str, Tokens]:
    """Return training pieces of both kinds for INT8 ranges."""
    tokens = split()[0][0]
    return {"tokens": tokens[:: len(tokens) // CALIBRATION][:CALIBRATION]}


def _pieces(texts: list[str], count: int, generator: np.random.Generator) -> Tokens:
    """Return pieces from random places of the texts, all of printable ASCII and line ends."""
    whole = "\n".join(texts).encode("ascii", "ignore")
    values = np.frombuffer(whole, dtype=np.uint8)
    starts = generator.choice(len(values) - LENGTH, count, replace=False)
    return np.stack([values[start : start + LENGTH] for start in starts]).astype(np.int64)
