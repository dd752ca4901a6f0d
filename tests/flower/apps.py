"""Apps in folders of their own, with the repository's client app."""

import sys
from contextlib import contextmanager

from fedgates.flower.app import load_app


@contextmanager
def apps_forgotten():
    """Have the path of modules, and what is loaded, as before, at the end."""
    path = [*sys.path]
    yield
    sys.path[:] = path
    sys.modules.pop("server_of_study", None)
    load_app.cache_clear()


def write_app(folder, server="server_of_study:app", client="client_app:app", config='strategy = "fedpm"\nlearning-rate = 0.05'):
    """An app of its own, that uses the repository's client app."""
    components = f"[tool.flwr.app.components]\nserverapp = '{server}'\nclientapp = '{client}'\n"
    (folder / "pyproject.toml").write_text(f"{components}[tool.flwr.app.config]\n{config}\n")
    source = "from fedgates.flower import make_server_app\napp = make_server_app()\n"
    broken = """
class Broken(Method):
    initial_state = local_update = aggregate = weights = None
    def __init__(self, config, network):
        raise RuntimeError("no such day")
"""
    (folder / "server_of_study.py").write_text(source + "other = 3\nfrom fedgates.methods import Method\n" + broken)
    return folder
