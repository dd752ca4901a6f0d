"""The Flower ServerApp of every method: check the config, open the run's folder, run the rounds, report."""

import logging
import sys
import time
from collections.abc import Callable, Mapping

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Result

from fedgates import data, trackers
from fedgates.config import RunConfig, to_dict
from fedgates.config.app import as_pair
from fedgates.errors import ConfigError, NetworkError, QuorumError
from fedgates.federation.finish import keep_model, tell
from fedgates.federation.membership import is_simulation
from fedgates.flower.startup import config_is_checked, end_flower_process
from fedgates.methods.registry import AnyStrategy, Strategies, build, configure
from fedgates.runs.checkpoint import RunFolder, open_run
from fedgates.types import Value

log = logging.getLogger("fedgates")
REFUSALS = (ConfigError, NetworkError, QuorumError)
"""What ends a run and says in one line why: a traceback would bury it."""
_SETTLING, _PATIENCE = 0.1, 30.0
"""Seconds without a new node after which a simulation's nodes are all there, and after which it has none."""


class FederationApp(ServerApp):
    """A ServerApp that says which methods it serves, so that a run config can be checked before it is run."""

    def __init__(self, strategies: Strategies) -> None:
        super().__init__()
        self.strategies = strategies


def make_server_app(strategies: Strategies) -> FederationApp:
    """A ServerApp that serves the methods of `strategies`, and "module:Class" of the user's own."""
    app = FederationApp(strategies)

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        """Run one federation from the run config."""
        log_to_stdout()
        try:
            run_federation(grid, context.run_config, strategies)
        except REFUSALS as error:
            log.error("fedgates: %s", error)  # noqa: TRY400  # one line
            end_flower_process()
            raise
        finally:
            config_is_checked()

    return app


def run_federation(grid: Grid, raw: Mapping[str, Value], strategies: Strategies) -> tuple[Result, RunFolder]:
    """One whole run on a grid.

    Parameters
    ----------
    grid : Grid
        Flower's, or a loopback grid.
    raw : mapping
        The flat run config.
    strategies : mapping
        The methods known by name.

    Returns
    -------
    tuple
        Flower's result, and the run's folder.

    Raises
    ------
    ConfigError
        Before anything is sent.
    QuorumError
        Too few clients, or too few sound updates; says how to go on.
    """
    strategy, dataset, clients = prepare(raw, strategies, lambda: simulated_clients(grid))
    config = strategy.config
    run = open_run(config, clients)
    log.info("results: %s", run.path)
    with run.held():
        return _run(grid, strategy, dataset, run, clients), run


def _run(grid: Grid, strategy: AnyStrategy, dataset: data.Dataset, run: RunFolder, clients: int | None) -> Result:
    """All rounds of a run that are not done yet, and what it leaves."""
    config = strategy.config
    if dataset.support is not None and len(dataset.support) == strategy.network.size:
        strategy.support = dataset.support
    first_round, arrays = 1, None
    if config.resume:
        state, done = run.load(strategy.digest) or (strategy.initial_state(), 0)
        if config.num_server_rounds < done:
            expected = f"at least {done}: so many are done in the run to resume"
            raise ConfigError("num-server-rounds", config.num_server_rounds, expected)
        run.note(config, clients)
        run.ledger.forget_after(done)
        first_round, arrays = done + 1, strategy.encode(state, done + 1)
        strategy.go_on(first_round, run.ledger.failed_attempts(first_round))
        log.info("resumed after round %d", done)
        if strategy.remembers:
            log.warning("clients of %s keep something of their own, which starts anew", config.strategy)
    config_is_checked()
    evaluate_fn = None
    if len(dataset.test):
        evaluate_fn = strategy.evaluate_on(*data.to_tensors(dataset.test, strategy.network.device))
    resumed = bool(config.resume)
    with trackers.following(config.trackers, run.path, to_dict(config), first_round, resumed=resumed) as follow:
        try:
            result = strategy.start(grid, arrays, evaluate_fn=evaluate_fn, first_round=first_round, run=run, follow=follow)
            keep_model(strategy, dataset, run)
        except QuorumError as error:
            raise QuorumError(f"{error}; to go on: {as_pair('resume', str(run.path))}") from None
        finally:  # a run that ends early has cost something, too
            tell(strategy, run)
    return result


def prepare(
    raw: Mapping[str, Value], strategies: Strategies, count: Callable[[], int | None]
) -> tuple[AnyStrategy, data.Dataset, int | None]:
    """The method that `raw` asks for and its data, checked in every way that needs no client.

    Parameters
    ----------
    raw, strategies
        As of :func:`run_federation`.
    count : callable
        Gives how many clients are simulated, or None; called once the config alone is known to be sound.

    Raises
    ------
    ConfigError, NetworkError
        The run cannot be done.
    """
    method, config = configure(raw, strategies)
    trackers.check(config.trackers)
    dataset = data.load_once(config)
    clients = count()
    if clients is not None:
        check_partition(config, dataset, clients)
    return build(method, config, dataset.input_shape, dataset.num_classes), dataset, clients


def check_partition(config: RunConfig, dataset: data.Dataset, clients: int) -> None:
    """Find out before anything is sent whether so many clients can share the data as the config asks.

    Raises
    ------
    ConfigError
        They cannot, there is nothing to share, or there are fewer clients than `min-clients`.
    """
    if not len(dataset.train):
        raise ConfigError("dataset", config.dataset, "a data set that is here: simulated clients have none of their own")
    if clients < config.min_clients:
        raise ConfigError("min-clients", config.min_clients, f"at most {clients}, which is how many clients are simulated")
    data.shares(dataset, config, clients)


def simulated_clients(grid: Grid) -> int | None:
    """How many nodes a simulation has; None where nodes are real, and may come, go, and hold data of their own.

    A simulation registers its nodes one by one while this starts, so they are counted once no more turn up.
    """
    if not is_simulation(grid):
        return None
    count, before, end = len(list(grid.get_node_ids())), -1, time.monotonic() + _PATIENCE
    while (count != before or not count) and time.monotonic() < end:
        time.sleep(_SETTLING)
        before, count = count, len(list(grid.get_node_ids()))
    return count


def log_to_stdout() -> None:
    """Plain lines on standard output, where `flwr run --stream` shows them, whatever Flower's own log level is."""
    if not log.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
