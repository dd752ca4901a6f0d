import pytest

from fedgates.methods import masks


@pytest.fixture
def sent(monkeypatch):
    """The keep-probabilities that uploads were sampled from."""
    seen = []

    def watch(theta, coins):
        seen.append(theta.clone())
        return sample_with(theta, coins)

    sample_with = masks.sample_with
    monkeypatch.setattr(masks, "sample_with", watch)
    return seen
