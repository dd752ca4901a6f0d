"""The Flower ServerApp for all methods, which runs one federation as the run config specifies."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedgates.federation.run import REFUSALS, run_federation
from fedgates.flower.startup import check_temporary_folder, config_is_checked, end_flower_process
from fedgates.flower.transport import GridTransport
from fedgates.methods.registry import Methods
from fedgates.runs.callback import Callback
from fedgates.runs.folder import RunFolder
from fedgates.types import Value

log = logging.getLogger("fedgates")


class FederationApp(ServerApp):
    """ServerApp with the attributes ``methods`` and ``make_callbacks``, so that run configs can be checked before a run."""

    def __init__(self, methods: Methods, make_callbacks: Callable[[], Sequence[Callback]]) -> None:
        super().__init__()
        self.methods = methods
        self.make_callbacks = make_callbacks


def make_server_app(methods: Methods | None = None, callbacks: Callable[[], Sequence[Callback]] = lambda: ()) -> FederationApp:
    """Return a ServerApp that supports all registered methods, those in `methods`, and any "module:Class".

    Parameters
    ----------
    methods : mapping, optional
        Additional methods: mapping from name to "module:Class".
    callbacks : callable, optional
        Function that returns additional callbacks for a run (:class:`~fedgates.federation.Callback`).
    """
    app = FederationApp(methods or {}, callbacks)

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        """Run one federation from the run config."""
        log_to_stdout()
        try:
            check_temporary_folder()
            run_on_grid(grid, context.run_config, app.methods, app.make_callbacks())
        except REFUSALS as error:
            log.error("fedgates: %s", error)  # noqa: TRY400  # one line
            end_flower_process()
            raise
        finally:
            config_is_checked()

    return app


def run_on_grid(
    grid: Grid, raw: Mapping[str, Value], methods: Methods | None = None, callbacks: Sequence[Callback] = ()
) -> RunFolder:
    """Run a federation on a Flower grid and return the run's folder (:func:`fedgates.federation.run.run_federation`)."""
    transport = GridTransport(grid)
    _, run = run_federation(
        transport,
        raw,
        methods,
        count_clients=transport.count_simulated,
        callbacks=callbacks,
        on_checked=config_is_checked,
    )
    return run


def log_to_stdout() -> None:
    """Log plain lines to standard output, which `flwr run --stream` shows regardless of Flower's log level."""
    if not log.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
