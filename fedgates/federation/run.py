"""A whole run: check settings and data, build the method, open the folder, run the rounds, and write the results."""

import errno
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fedgates import data
from fedgates.config import as_pair, changed, to_dict
from fedgates.errors import ConfigError, DivergenceError, NetworkError, QuorumError, StorageError
from fedgates.federation.callbacks import (
    BestCheckpointCallback,
    CheckpointCallback,
    ConfusionCallback,
    DevicesCallback,
    LogCallback,
    ProgressCallback,
    running,
)
from fedgates.federation.measurement import measured
from fedgates.federation.messages import comparable
from fedgates.federation.model_callback import ModelCallback, NormSums
from fedgates.federation.rounds import Transport, run_rounds, wait_for_clients
from fedgates.federation.server import Server
from fedgates.federation.setup import Setup, prepare
from fedgates.methods.masks import MaskMethod
from fedgates.methods.randomized_response import epsilon
from fedgates.methods.registry import Methods
from fedgates.nn.network import Network
from fedgates.report.callback import ReportCallback
from fedgates.runs import checkpoint
from fedgates.runs.best_round import round_results
from fedgates.runs.callback import Callback
from fedgates.runs.config_file import write_config
from fedgates.runs.folder import RunFolder, open_run
from fedgates.trackers.callback import TrackerCallback
from fedgates.types import Value
from fedgates.util.text import name_list, one_line

log = logging.getLogger("fedgates")
REFUSALS = (ConfigError, NetworkError, QuorumError, DivergenceError, StorageError)
"""Errors that are reported in one line, without a traceback."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of a full or read-only disk, reported in one line for any file; Python names no file if a disk is full."""


def run_federation(
    transport: Transport,
    raw: Mapping[str, Value],
    methods: Methods | None = None,
    *,
    count_clients: Callable[[], int | None],
    callbacks: Sequence[Callback] = (),
    on_checked: Callable[[], None] = lambda: None,
) -> tuple[Server[Any], RunFolder]:
    """Run a federation from settings to results.

    Parameters
    ----------
    transport : Transport
        Carries requests and replies.
    raw, methods, count_clients
        Parameters of :func:`prepare`.
    callbacks : sequence of Callback
        Additional callbacks, called after the built-in ones.
    on_checked : callable
        Called after all checks, before the first request.

    Returns
    -------
    tuple
        The server after the last round, and the run's folder.

    Raises
    ------
    ConfigError, NetworkError
        The run cannot be started; nothing has been sent.
    QuorumError, StorageError
        There are too few clients or accepted updates, or a file cannot be written; the message says how to resume.
    DivergenceError
        Training diverged on most clients.
    """
    setup, run = prepare(raw, methods, count_clients), None
    try:
        run = open_run(setup.method.config, setup.num_clients, setup.dataset.digest)
        log.info("results: %s", run.path)
        with run.lock():
            server = Server(setup.method, setup.problem)
            if setup.dataset.named:
                server.membership.class_names = comparable(setup.dataset.class_names)
            _run(server, setup, run, transport, callbacks, on_checked)
    except OSError as error:
        if error.errno not in _FULL and not (run and run.is_part(error.filename)):
            raise
        file = error.filename or (run.path if run else setup.method.config.output_dir)
        hint = f"; {_to_resume(run)}" if run else ""
        raise StorageError(f"{file} cannot be written or read: {error.strerror}{hint}") from error
    return server, run


def _run(
    server: Server[Any],
    setup: Setup,
    run: RunFolder,
    transport: Transport,
    callbacks: Sequence[Callback],
    on_checked: Callable[[], None],
) -> None:
    """Run all remaining rounds."""
    method, dataset, config = setup.method, setup.dataset, server.config
    if dataset.support is not None and len(dataset.support) == method.network.size:
        method.support = dataset.support
    first_round = resume(server, setup, run) if config.resume else 1
    on_checked()
    evaluate = None
    if len(dataset.test):
        x, y = data.to_tensors(dataset.test, method.network.device)
        evaluate = lambda: server.evaluate(x, y)  # noqa: E731
    log_summary(server)
    if setup.num_clients is not None:
        for sentence in data.unheld(dataset, data.shares(dataset, config, setup.num_clients)):
            log.info("%s", sentence)
    everything = [*own_callbacks(setup, run, partial(measured, server, transport, "norms")), *callbacks]
    results = round_results(run.round_log.read("resume")) if config.resume else []
    try:
        with running(everything, server, first_round, resumed=bool(config.resume)):
            if first_round == 1:
                _start_at_class_means(server, transport)
            run_rounds(server, transport, range(first_round, config.num_server_rounds + 1), everything, evaluate, results)
    except QuorumError as error:
        raise QuorumError(f"{error}; {_to_resume(run)}") from None


def _start_at_class_means(server: Server[Any], transport: Transport) -> None:
    """Initialise the last layer from class means if `gates.sent-start` is "class-means"."""
    method = server.method
    if not isinstance(method, MaskMethod) or method.config.gates.sent_start != "class-means":
        return
    wait_for_clients(server, transport)
    sums = measured(server, transport, "features", server.state, 1)
    if sums.any():
        server.state = method.start_at_class_means(server.state, sums)
    else:
        log.warning("no client measured the features: the last layer starts from its initial values")


def _to_resume(run: RunFolder) -> str:
    return f"to go on: {as_pair('resume', str(run.path))}"


def own_callbacks(setup: Setup, run: RunFolder, norm_sums: NormSums) -> list[Callback]:
    """Return the built-in callbacks in order: log, progress, confusion matrix, checkpoints, trackers, model file, report.

    There is no model file if a layer is personal, because the server does not have that layer.
    """
    config = setup.method.config
    values = to_dict(config)
    return [
        LogCallback(run),
        ProgressCallback(config.num_server_rounds),
        *(
            [ConfusionCallback(run, setup.dataset.class_names)] if len(setup.dataset.test) else []
        ),  # a checkpoint ends the round
        CheckpointCallback(run),
        *([DevicesCallback(run)] if setup.num_clients is None else []),
        *([BestCheckpointCallback(run)] if config.keep_best else []),
        TrackerCallback(config.trackers, run.path, values),
        *([ModelCallback(run, setup.dataset, norm_sums)] if not config.gates.personal else []),
        ReportCallback(run.path, config.strategy, setup.method.network.size),
    ]


def resume(server: Server[Any], setup: Setup, run: RunFolder) -> int:
    """Restore the server from the run's last checkpoint, and return the number of the next round.

    Raises
    ------
    ConfigError
        There is no usable checkpoint, or `num-server-rounds` is below the number of completed rounds.
    """
    method, config = setup.method, server.config
    state, done = checkpoint.load(run.path, method.digest) or (server.state, 0)
    if config.num_server_rounds < done:
        expected = f"at least {done}, the number of completed rounds of the run to resume"
        raise ConfigError("num-server-rounds", config.num_server_rounds, expected)
    write_config(run.path, config, setup.num_clients, setup.dataset.digest)
    run.round_log.forget_after(done)
    server.restore(state, done + 1, run.round_log.failed_attempts(done + 1))
    log.info("resumed after round %d", done)
    if method.spec.memory:
        log.warning("clients of %s start with empty memory (%s)", config.strategy, ", ".join(method.spec.memory))
    if config.gates.personal:
        log.warning("clients train their personal layer again, from its initial values")
    return done + 1


def _roles(network: Network) -> str:
    """Return a description of the parameters that are sent as values or fixed; empty if there are none."""
    parts = []
    if len(network.tail):
        parts.append(f"{len(network.tail):,} sent as values ({name_list([each.name for each in network.tail.slices])})")
    if network.fixed:
        parts.append(f"{len(network.fixed)} parameters fixed ({name_list(network.fixed)})")
    return f"in addition to {network.size:,} parameters: {', '.join(parts)}" if parts else ""


def log_summary(server: Server[Any]) -> None:
    """Log the method, data, network and changed settings of a run."""
    config, method = server.config, server.method
    size, digest = method.network.size, method.digest.hex()
    what = config.strategy, one_line(config.dataset), config.model, f"{size:,}", digest
    log.info("%s on %s, %s with %s parameters, network %s", *what)
    if different := {key: value for key, value in changed(config).items() if key not in {"strategy", "output-dir"}}:
        log.info("changed: %s", " ".join(as_pair(key, value) for key, value in different.items()))
    if roles := _roles(method.network):
        log.info("%s", roles)
    if config.gates.personal:
        names = name_list([each.name for each in method.network.head.slices])
        text = "%s are personal, %s parameters stay on clients: the server evaluates no model and writes no model file"
        log.info(text, names, f"{len(method.network.head):,}")
    if config.privacy.flip_probability:
        per_bit = epsilon(config.privacy.flip_probability)
        text = (
            "privacy.flip-probability = %g: local epsilon %.3f a bit, %s for all bits of a mask, each round"
            " (docs/explanation/privacy.md)"
        )
        log.info(text, config.privacy.flip_probability, per_bit, f"{per_bit * size * len(method.spec.arrays):,.0f}")
