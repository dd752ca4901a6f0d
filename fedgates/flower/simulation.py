"""A run in this process, for whoever writes a method or looks at what devices' data would do: to try, and to debug."""

from collections.abc import Iterable, Mapping

from flwr.clientapp import ClientApp

from fedgates.flower.loopback import LoopbackGrid
from fedgates.flower.server_app import REFUSALS, log_to_stdout, run_federation
from fedgates.methods.registry import Strategies
from fedgates.runs.checkpoint import RunFolder
from fedgates.types import Value


def rehearse(
    client_app: ClientApp,
    settings: Mapping[str, Value],
    strategies: Strategies,
    num_clients: int = 0,
    node_configs: Iterable[Mapping[str, Value]] | None = None,
) -> RunFolder:
    """Run a federation in this process, one client after the other, with a line a round on standard output.

    Every number is the one that Flower's engines would give, but for seconds.

    Parameters
    ----------
    client_app : ClientApp
        The app's.
    settings : mapping
        The run config, kebab-case key to value; keys left out have their defaults.
    strategies : mapping
        The methods known by name.
    num_clients : int
        Clients that share the config's data set.
    node_configs : iterable of mapping, optional
        Instead of these: a node config for each device.

    Returns
    -------
    RunFolder
        What the run has left.

    Raises
    ------
    SystemExit
        The run cannot be done or cannot go on: a line on standard error, and exit code 1. What else is raised in the server's
        rule comes as it is.
    """
    node_configs = list(node_configs or [])
    if num_clients < 1 and not node_configs:
        raise SystemExit(
            f"fedgates: num_clients = {num_clients}: expected how many clients share the data set, or node_configs instead"
        )
    log_to_stdout()
    try:
        _, folder = run_federation(LoopbackGrid(client_app, settings, num_clients, node_configs), settings, strategies)
    except REFUSALS as error:
        raise SystemExit(f"fedgates: {error}") from None
    return folder
