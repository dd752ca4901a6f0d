"""Writing ``report.html``, a page that needs no other file and no network."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedgates.report.document import document
from fedgates.report.run_data import load_run_data
from fedgates.runs.folder import REPORT
from fedgates.util.files import write_atomically


def write_page(folder: Path, defaults: Mapping[str, Any] | None = None, *, under_way: bool = False) -> Path:
    """Write ``report.html`` in the folder of a run and return its path.

    Parameters
    ----------
    folder : Path
        The folder of a run, finished or not.
    defaults : mapping, optional
        Default of each key of the configuration; the page lists keys that differ from it. By default those of
        :class:`~fedgates.config.RunConfig`.
    under_way : bool
        Whether a process is still running the run. The page then shows it and reloads itself, until a page without this mark
        replaces it.

    Raises
    ------
    ConfigError
        `folder` is not the folder of a run.
    OSError
        The page cannot be written.
    """
    page = document(load_run_data(folder, defaults, under_way=under_way))
    own = folder / f".{os.getpid()}.{REPORT}"  # the run may write its page at the same moment
    write_atomically(own, page.encode("utf-8"))
    return own.replace(folder / REPORT)
