"""Partition of examples among clients, as a function of the seed; uneven ones by flwr-datasets."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedgates import rng
from fedgates.errors import ConfigError

if TYPE_CHECKING:
    from fedgates.config import RunConfig

Indices = NDArray[np.int64]


def partition(labels: Indices, num_clients: int, config: "RunConfig") -> list[Indices]:
    """Divide examples among clients.

    ``iid`` gives all clients the same number, up to one; ``dirichlet`` draws, for each class, the clients' shares
    of it from Dir(alpha), and every client holds at least one example; ``classes`` gives every client
    ``data.classes-per-client`` classes, one of them the client's number modulo the number of classes (Li et al., 2022,
    arXiv:2102.02079).

    Parameters
    ----------
    labels : numpy.ndarray
        Shape ``[n]``, dtype int64: the class of each training example, or its decile in a regression (``Examples.strata``).
    num_clients : int
        Number of clients.
    config : RunConfig
        Its ``partition``, ``data.dirichlet-alpha``, ``data.classes-per-client``, ``data.samples-per-client`` and ``data_seed``.
        With ``data.samples-per-client`` each keeps exactly so many for ``iid`` and ``classes``, at most so many for
        ``dirichlet``.

    Returns
    -------
    list of numpy.ndarray
        For each client the indices of its examples, dtype int64, in a shuffled order. No index occurs twice; with
        ``iid`` and ``dirichlet`` and no ``data.samples-per-client`` all occur.

    Raises
    ------
    ConfigError
        The partition is impossible with these examples and this number of clients.
    """
    if not 1 <= num_clients <= len(labels):
        expected = f"1 to {len(labels)}, which is how many training examples there are (num-supernodes of a simulation)"
        raise ConfigError("clients", num_clients, expected)
    order = _permutation(len(labels), config.data_seed, "partition")
    parts = _divided(labels, order, num_clients, config)
    shuffled = [part[_permutation(len(part), config.data_seed, "partition-order", client)] for client, part in enumerate(parts)]
    return _limited(shuffled, config)


def _permutation(count: int, seed: int, purpose: str, client: int = 0) -> Indices:
    return np.argsort(rng.words(count, seed, purpose, client=client), kind="stable")


def _divided(labels: Indices, order: Indices, num_clients: int, config: "RunConfig") -> list[Indices]:
    if config.partition == "iid":
        return np.array_split(order, num_clients)
    # flwr-datasets takes seconds to import, in each process of a simulation, and only uneven partitions need it
    import datasets  # noqa: PLC0415

    class Held(datasets.Dataset):  # type: ignore[misc]  # it has no types
        def select(self, indices: Any, **how: Any) -> datasets.Dataset:  # noqa: ANN401
            """Select without a fingerprint: it hashes every index, for a cache, and takes longer than everything else."""
            return super().select(indices, **(how | {"new_fingerprint": "unused"}))

    held = Held.from_dict({"label": labels[order], "index": order})
    partitioner = _partitioner(labels, num_clients, config)
    partitioner.dataset = held
    with warnings.catch_warnings():
        # flwr-datasets warns of each failed draw, and of classes that no client has
        warnings.filterwarnings("ignore", module="flwr_datasets")
        try:
            parts = [partitioner.load_partition(client) for client in range(num_clients)]
        except ValueError as error:
            raise _unmet(labels, num_clients, config) from error
    return [np.asarray(part["index"][:], dtype=np.int64) for part in parts]


def _partitioner(labels: Indices, num_clients: int, config: "RunConfig") -> Any:  # noqa: ANN401 - it has no types
    from flwr_datasets import partitioner  # noqa: PLC0415

    seed = int(rng.words(1, config.data_seed, "partition-draw")[0] >> np.uint64(32))
    match config.partition:
        case "dirichlet":
            return partitioner.DirichletPartitioner(
                num_clients, "label", config.data.dirichlet_alpha, min_partition_size=1, shuffle=False, seed=seed
            )
        case "classes":
            present = len(np.unique(labels))
            if config.data.classes_per_client > present:
                raise ConfigError(
                    "data.classes-per-client", config.data.classes_per_client, f"at most the {present} classes there are"
                )
            return partitioner.PathologicalPartitioner(
                num_clients, "label", config.data.classes_per_client, "first-deterministic", shuffle=False, seed=seed
            )
        case other:
            raise ConfigError("partition", other, "one of iid, dirichlet, classes")


def _unmet(labels: Indices, num_clients: int, config: "RunConfig") -> ConfigError:
    if config.partition == "dirichlet":
        return ConfigError(
            "data.dirichlet-alpha",
            config.data.dirichlet_alpha,
            f"a value with which each of {num_clients} clients gets one of {len(labels)} examples (11 draws failed); "
            "a larger one, or fewer clients",
        )
    rarest = int(np.unique(labels, return_counts=True)[1].min())
    return ConfigError(
        "data.classes-per-client",
        config.data.classes_per_client,
        f"no more clients to draw a class than it has examples (the rarest has {rarest}, and there are {num_clients} "
        "clients); a smaller number, or fewer clients",
    )


def _limited(parts: list[Indices], config: "RunConfig") -> list[Indices]:
    limit = config.data.samples_per_client
    if not limit:
        return parts
    smallest = min(map(len, parts))
    if config.partition != "dirichlet" and smallest < limit:
        raise ConfigError(
            "data.samples-per-client",
            limit,
            f"at most {smallest}: with partition {config.partition} and {len(parts)} clients one holds no more",
        )
    return [part[:limit] for part in parts]
