import hashlib

import numpy as np
import pytest
import torch

from fedgates import rng

OTHER_KEYS = [
    {"seed": 2},
    {"seed": 2**63 - 1},
    {"purpose": "train"},
    {"server_round": 1},
    {"client": 1},
    {"server_round": 1, "client": 1},
    {"client": 11},
    {"server_round": 11},
]


def words(count=4, seed=1, purpose="weights", **names):
    return rng.words(count, seed, purpose, **names)


def test_words_are_fixed_for_ever():
    # whoever changes these changes every frozen network and every choice of clients ever made
    assert [f"{word:016x}" for word in words().tolist()] == [
        "33651de317737c34",
        "59c1b716cec607e1",
        "85f89a266f3b4159",
        "a3f46f170f200192",
    ]
    assert [f"{word:016x}" for word in words(2, 7, "choose", server_round=3, client=5).tolist()] == [
        "03655405c873e19d",
        "ed8e6f6f23cea58c",
    ]


def test_words_are_philox_keyed_by_blake2b_of_the_names():
    key = hashlib.blake2b(b"choose/7/3/5", digest_size=16).digest()
    philox = np.random.Philox(key=np.frombuffer(key, "<u8"))  # the two words of the key, and the counter from 0
    expected = np.random.Generator(philox).integers(0, 2**64, size=9, dtype=np.uint64)
    assert words(9, 7, "choose", server_round=3, client=5).tolist() == expected.tolist()


def test_words_have_their_type_and_a_longer_draw_starts_like_a_shorter_one():
    assert words(0).shape == (0,)
    assert words(9).dtype == np.uint64
    assert words(9)[:5].tolist() == words(5).tolist()


@pytest.mark.parametrize("names", OTHER_KEYS, ids=str)
def test_another_key_is_another_stream(names):
    assert not set(words(100).tolist()) & set(words(100, **names).tolist())
    changed = {"seed": 1, "purpose": "weights", **names}
    assert not torch.equal(torch.rand(9, generator=rng.generator(1, "weights")), draw(**changed))


def draw(**names):
    return torch.rand(9, generator=rng.generator(**names))


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_bits_are_the_bits_of_the_words_lowest_first(count):
    raw = words(4, 3, "weights", client=2).tolist()
    expected = [raw[i // 64] >> (i % 64) & 1 for i in range(count)]
    found = rng.bits(count, 3, "weights", client=2)
    assert found.dtype == np.uint8
    assert found.tolist() == expected


# --- coins and streams


def test_coins_are_fixed_for_ever():
    # whoever changes these can no longer read a mask that was coded with them
    found = rng.coins(5, 7, server_round=3, client=5)
    assert found.dtype == np.uint32
    assert [f"{coin:08x}" for coin in found.tolist()] == ["12a39fe3", "5293728d", "f58423c6", "2f7b1f7b", "3c97ea7a"]


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8])
def test_coins_are_the_halves_of_the_words_lower_first(count):
    raw = words(4, 7, "upload", server_round=3, client=5).tolist()
    expected = [(raw[i // 2] >> 32 * (i % 2)) & (2**32 - 1) for i in range(count)]
    assert rng.coins(count, 7, server_round=3, client=5).tolist() == expected


@pytest.mark.parametrize("names", [{"seed": 8}, {"server_round": 4}, {"client": 6}, {"client": 2**64 - 1}], ids=str)
def test_another_round_or_client_has_other_coins(names):
    key = {"seed": 7, "server_round": 3, "client": 5}
    one, other = rng.coins(1000, **key), rng.coins(1000, **{**key, **names})
    assert len(set(one.tolist()) & set(other.tolist())) <= 1  # of 10^6 pairs one in 2^32 is alike


def test_coins_are_uniform():
    coins = rng.coins(160_000, 7, server_round=3, client=5)
    tossed = np.bincount(coins >> 28, minlength=16)
    assert np.abs(tossed - 10_000).max() < 4.5 * np.sqrt(10_000)
    assert abs(coins.mean() / 2**32 - 0.5) < 4 / np.sqrt(12 * len(coins))


def test_a_stream_goes_on_where_it_stopped_and_can_be_entered_anywhere():
    expected = words(40, 7, "candidates", server_round=3, client=5).tolist()
    stream = rng.philox(7, "candidates", server_round=3, client=5)
    assert stream.random_raw(8).tolist() == expected[:8]
    stream.advance(0)
    assert stream.random_raw(4).tolist() == expected[8:12]
    stream.advance(5)  # steps of four words each
    assert stream.random_raw(8).tolist() == expected[32:40]


def test_bits_are_fair_and_independent():
    bits = rng.bits(100_000, 1, "weights").astype(int)
    four_deviations = 4 * 0.5 * np.sqrt(len(bits))
    assert abs(bits.sum() - len(bits) / 2) < four_deviations
    assert abs((bits[1:] ^ bits[:-1]).sum() - len(bits) / 2) < four_deviations


def test_generator_repeats():
    names = {"seed": 5, "purpose": "train", "server_round": 2, "client": 3}
    assert torch.equal(draw(**names), draw(**names))
    assert rng.generator(**names).initial_seed() == rng.generator(**names).initial_seed() < 2**63


def test_global_generators_are_neither_read_nor_moved():
    np.random.seed(1)  # noqa: NPY002  # the one that must not matter
    torch.manual_seed(1)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    first = words().tolist(), draw(seed=1, purpose="train").tolist()
    assert np.random.get_state()[1].tolist() == before[0]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(2)
    assert (words().tolist(), draw(seed=1, purpose="train").tolist()) == first


def test_uniform_numbers_are_the_upper_bits_of_a_word():
    word = int(words(1, 7, "choose", server_round=3, client=5)[0])
    assert rng.uniform(1, 7, "choose", server_round=3, client=5).tolist() == [(word >> 11) / 2**53]
