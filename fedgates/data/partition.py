"""Partition of examples among clients, as a function of the seed; uneven partitions use flwr-datasets."""

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

    ``iid`` gives all clients the same number of examples, up to one. ``dirichlet`` draws the clients' shares of each class from
    Dir(alpha); every client gets at least one example. ``classes`` gives every client ``data.classes-per-client`` classes, one
    of which is the client's number modulo the number of classes (Li et al., 2022, arXiv 2102.02079).

    Parameters
    ----------
    labels : numpy.ndarray
        Class of each training example, or its decile for regression (``Examples.strata``): shape ``[n]``, dtype int64.
    num_clients : int
        Number of clients.
    config : RunConfig
        Configuration with ``partition``, ``data.dirichlet-alpha``, ``data.classes-per-client``, ``data.samples-per-client`` and
        ``data_seed``. With ``data.samples-per-client``, each client keeps exactly that number of examples for ``iid`` and
        ``classes``, and at most that number for ``dirichlet``.

    Returns
    -------
    list of numpy.ndarray
        Indices of each client's examples, dtype int64, in shuffled order. No index occurs twice; with ``iid`` or
        ``dirichlet`` and no ``data.samples-per-client``, every index occurs.

    Raises
    ------
    ConfigError
        The partition is impossible with these examples and this number of clients.
    """
    if not 1 <= num_clients <= len(labels):
        expected = f"1 to {len(labels)}, the number of training examples (num-supernodes of a simulation)"
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
    # flwr-datasets takes seconds to import in each process of a simulation, and only uneven partitions need it
    import datasets  # noqa: PLC0415

    class Held(datasets.Dataset):  # type: ignore[misc]  # datasets has no types
        def select(self, indices: Any, **how: Any) -> datasets.Dataset:  # noqa: ANN401
            """Select without a fingerprint, whose hash over every index (for a cache) takes longer than the rest."""
            return super().select(indices, **(how | {"new_fingerprint": "unused"}))

    held = Held.from_dict({"label": labels[order], "index": order})
    partitioner = _partitioner(labels, num_clients, config)
    partitioner.dataset = held
    with warnings.catch_warnings():
        # flwr-datasets warns about each failed draw, and about classes that no client has
        warnings.filterwarnings("ignore", module="flwr_datasets")
        try:
            parts = [partitioner.load_partition(client) for client in range(num_clients)]
        except ValueError as error:
            raise _unmet(labels, num_clients, config) from error
    return [np.asarray(part["index"][:], dtype=np.int64) for part in parts]


def _partitioner(labels: Indices, num_clients: int, config: "RunConfig") -> Any:  # noqa: ANN401  # flwr-datasets has no types
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
                    "data.classes-per-client", config.data.classes_per_client, f"at most {present}, the number of classes"
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
            f"a larger value or fewer clients: in 11 draws, some of {num_clients} clients got none of {len(labels)} examples",
        )
    rarest = int(np.unique(labels, return_counts=True)[1].min())
    return ConfigError(
        "data.classes-per-client",
        config.data.classes_per_client,
        f"a smaller value or fewer clients: more of {num_clients} clients draw a class than it has examples"
        f" (the rarest class has {rarest})",
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
            f"at most {smallest}: with partition {config.partition} and {len(parts)} clients, one has no more",
        )
    return [part[:limit] for part in parts]
