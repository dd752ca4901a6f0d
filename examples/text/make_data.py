"""Write names of countries, each in one of four languages alone, as tokens of characters; the package Babel contains them."""

import sys
from pathlib import Path

import numpy as np
from babel import Locale

LANGUAGES = {"fi": "Finnish", "hu": "Hungarian", "id": "Indonesian", "tr": "Turkish"}
LENGTH = 24
"""Characters of a name; shorter ones are filled with 0."""
TOKENS = 128
"""A character is the token of its code point modulo 127, plus one."""


def tokens(name: str) -> list[int]:
    """Return the tokens of a name."""
    text = name.lower()[:LENGTH]
    return [ord(character) % (TOKENS - 1) + 1 for character in text] + [0] * (LENGTH - len(text))


def main(target: Path) -> None:
    """Write the file; every fifth name is for testing."""
    names = [set(Locale(code).territories.values()) for code in LANGUAGES]
    pairs = sorted((name, i) for i, own in enumerate(names) for name in own if sum(name in each for each in names) == 1)
    x, y = np.array([tokens(name) for name, _ in pairs]), np.array([label for _, label in pairs])
    test = np.arange(len(y)) % 5 == 0
    arrays = {"x_train": x[~test], "y_train": y[~test], "x_test": x[test], "y_test": y[test]}
    np.savez_compressed(target, **arrays, classes=list(LANGUAGES.values()))


if __name__ == "__main__":
    main(Path(sys.argv[1]).expanduser())
