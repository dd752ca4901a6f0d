"""Write words of five languages to ``text.npz`` in ``~/fedgates/text`` or a given folder.

The words come from the names of countries, languages and currencies in the package Babel; words that occur in several of the
languages are left out. A word is an array of 16 numbers, one per letter, from 1 up, padded with 0.
"""

import sys
from pathlib import Path

import numpy as np
from babel import Locale

CLASSES = ("Finnish", "Indonesian", "Polish", "Swahili", "Turkish")
CODES = ("fi", "id", "pl", "sw", "tr")
LETTERS = "abcdefghijklmnopqrstuvwxyzáâåäãçèéêíîñóôöøúûüąćęğıłńśşšźżž"  # noqa: RUF001  # a letter of Turkish
LENGTH = 16


def words(code: str) -> set[str]:
    """Return the words of 4 to 16 letters in a language's names, in lower case."""
    locale = Locale.parse(code)
    names = [*locale.territories.values(), *locale.languages.values(), *locale.currencies.values()]
    found = " ".join(names).lower().split()
    return {word for word in found if 4 <= len(word) <= LENGTH and set(word) <= set(LETTERS)}


def main(folder: Path) -> None:
    """Write the file; every fifth word is a test example."""
    vocabularies = [words(code) for code in CODES]
    x, y = [], []
    for label, own in enumerate(vocabularies):
        others = set[str]().union(*(each for each in vocabularies if each is not own))
        for word in sorted(own - others):
            x.append([LETTERS.index(letter) + 1 for letter in word] + [0] * (LENGTH - len(word)))
            y.append(label)
    inputs, labels = np.array(x, np.int64), np.array(y, np.int64)
    test = np.arange(len(y)) % 5 == 0
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / "text.npz",
        x_train=inputs[~test],
        y_train=labels[~test],
        x_test=inputs[test],
        y_test=labels[test],
        classes=np.array(CLASSES),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.home() / "fedgates" / "text")
