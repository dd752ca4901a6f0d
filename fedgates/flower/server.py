"""The Flower ServerApp of every method: check the config, open the run's folder, run the rounds, report."""

import logging
import os
import signal
import sys
from collections.abc import Mapping

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Result

from fedgates import data, models, report
from fedgates.checkpoint import RunFolder, open_run
from fedgates.config import ConfigError, RunConfig, Value
from fedgates.flower.registry import AnyStrategy, Strategies, configure
from fedgates.flower.strategy import QuorumError
from fedgates.network import Network, NetworkError

log = logging.getLogger("fedgates")


def make_server_app(strategies: Strategies) -> ServerApp:
    """A ServerApp that serves the methods of `strategies`, and "module:Class" of the user's own."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        """Run one federation from the run config."""
        log_to_stdout()
        try:
            run_federation(grid, context.run_config, strategies)
        except (ConfigError, NetworkError, QuorumError) as error:
            log.error("fedgates: %s", error)  # noqa: TRY400  # one line, the traceback would bury it
            _end_flower_process()
            raise

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
    """
    method, config = configure(raw, strategies)
    dataset = data.load(config.dataset, config.data_dir)
    check_partition(config, dataset)
    strategy = build_strategy(method, config, dataset)
    run = open_run(config)
    log.info("results: %s", run.path)
    first_round, arrays = 1, None
    if config.resume:
        state, done = run.load(strategy.digest)
        run.ledger.forget_after(done)
        first_round, arrays = done + 1, strategy.encode(state, done + 1)
        log.info("resumed after round %d", done)
    x, y = data.to_tensors(dataset.test, strategy.network.device)
    result = strategy.start(grid, arrays, evaluate_fn=strategy.evaluate_on(x, y), first_round=first_round, run=run)
    report.draw_curves(run.path, strategy.network.size)
    log.info(report.summary(run.ledger.read(), config.strategy, strategy.network.size))
    log.info("results: %s", run.path)
    return result, run


def build_strategy(method: type[AnyStrategy], config: RunConfig, dataset: data.Dataset) -> AnyStrategy:
    """The method on the server's side, for the network that the config names."""
    module = models.build(config.model, dataset.input_shape, dataset.num_classes, seed=config.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    strategy = method(config, Network(module, device))
    strategy.input_shape, strategy.num_classes = dataset.input_shape, dataset.num_classes
    return strategy


def check_partition(config: RunConfig, dataset: data.Dataset) -> None:
    """What can be known of the partition before the clients are there."""
    if config.partition == "classes" and config.classes_per_client > dataset.num_classes:
        raise ConfigError(
            "classes-per-client", config.classes_per_client, f"at most the {dataset.num_classes} classes of {config.dataset}"
        )


def _end_flower_process() -> None:
    """Let Flower's process end the way it ends when it is told to stop: at once, the run marked as failed.

    Raising would do for the run's status, but Flower's simulation would start Ray all the same and bury the line that says
    what is wrong under a traceback. Where the process is not Flower's own, nothing happens here.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if getattr(handler, "__module__", "").startswith("flwr."):
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGTERM)


def log_to_stdout() -> None:
    """Plain lines on standard output, where `flwr run --stream` shows them, whatever Flower's own log level is."""
    if not log.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
