import numpy as np
import pytest

from fedgates.methods.metrics import MaskCounts, consensus, regrown_share_of_ones, support_scores
from fedgates.types import Update, pack


def update(*mask, values=False):
    of = np.ones(sum(mask), dtype=np.float32) if values else None
    return Update(pack(np.array(mask, dtype=bool)), of)


def counts(*masks):
    found = MaskCounts(len(masks[0]))
    for _ in found.watch([update(*mask) for mask in masks]):
        pass
    return found


# --- counting


def test_watch_hands_on_the_same_updates_and_counts_each_before():
    updates = [update(1, 1, 0), update(0, 1, 0, values=True)]
    found = MaskCounts(3)
    stream = found.watch(iter(updates))
    assert found.masks == 0
    assert next(stream) is updates[0]
    assert (found.ones.tolist(), found.masks) == ([1, 1, 0], 1)
    assert next(stream) is updates[1]
    assert (found.ones.tolist(), found.masks) == ([1, 2, 0], 2)
    assert next(stream, None) is None
    assert found.ones.dtype == np.uint32


def test_updates_of_values_alone_are_handed_on_and_not_counted():
    dense = Update(None, np.ones(3, dtype=np.float32))
    found = MaskCounts(3)
    assert list(found.watch([dense])) == [dense]
    assert (found.ones.tolist(), found.masks) == ([0, 0, 0], 0)


# --- consensus


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([[1, 1, 0, 0], [0, 1, 1, 0]], 1 / 3),  # one of three
        ([[1, 1, 0, 0], [1, 1, 0, 0]], 1),
        ([[1, 1, 0, 0], [0, 0, 1, 1]], 0),
        ([[0, 0], [0, 0]], 1),
        ([[1, 0], [0, 0]], 0),
        # pairs: 1 of 2, 1 of 3, 0 of 3
        ([[1, 1, 0], [1, 0, 0], [0, 1, 1]], 2 / 8),
        ([[1, 0, 1]] * 5, 1),
    ],
)
def test_consensus_is_intersection_over_union_of_all_pairs(masks, expected):
    assert consensus(counts(*masks)) == pytest.approx(expected)
    assert consensus(counts(*reversed(masks))) == consensus(counts(*masks))


def test_consensus_of_many_masks_is_that_of_their_pairs_one_by_one():
    draw = np.random.Generator(np.random.Philox(1))
    masks = (draw.random((7, 40)) < draw.random(40)).astype(bool)
    pairs = [(a, b) for i, a in enumerate(masks) for b in masks[:i]]
    both, either = (sum(int(of(a, b).sum()) for a, b in pairs) for of in (np.logical_and, np.logical_or))
    assert consensus(counts(*masks.astype(int).tolist())) == pytest.approx(both / either)


def test_consensus_does_not_overflow():
    found = MaskCounts(2)
    found.ones[:] = found.masks = 100_000  # squares beyond 32 bits
    assert consensus(found) == 1


# --- regrowth


def test_regrowth_is_the_share_of_ones_where_the_broadcast_had_zero():
    before = np.array([0, 0, 1.5, -2], dtype=np.float32)
    assert regrown_share_of_ones(before, counts([1, 0, 1, 1], [0, 0, 1, 0])) == 1 / 4
    assert regrown_share_of_ones(before, counts([1, 1, 0, 0])) == 1
    assert regrown_share_of_ones(before, counts([0, 0, 1, 1])) == 0


def test_regrowth_of_empty_masks_is_zero():
    assert regrown_share_of_ones(np.zeros(2, dtype=np.float32), counts([0, 0], [0, 0])) == 0


# --- the support


@pytest.mark.parametrize(
    ("kept", "truth", "precision", "recall", "f1"),
    [
        ([1, 1, 1, 0], [0, 1, 1, 1], 2 / 3, 2 / 3, 2 / 3),
        ([1, 1, 1, 1], [1, 0, 0, 0], 1 / 4, 1, 2 / 5),
        ([1, 0, 0, 0], [1, 1, 1, 1], 1, 1 / 4, 2 / 5),
        ([1, 0, 1, 0], [1, 0, 1, 0], 1, 1, 1),
        ([1, 1, 0, 0], [0, 0, 1, 1], 0, 0, 0),
        ([0, 0, 0, 0], [0, 0, 1, 1], 0, 0, 0),
        ([1, 1, 0, 0], [0, 0, 0, 0], 0, 0, 0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0, 0, 0),
    ],
)
def test_support_scores(kept, truth, precision, recall, f1):
    found = support_scores(np.array(kept, dtype=bool), np.array(truth, dtype=bool))
    assert found == {"support_precision": precision, "support_recall": recall, "support_f1": f1}
