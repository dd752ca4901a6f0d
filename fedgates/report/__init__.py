"""``report.html``: what a run did, on one page that needs nothing but itself. Made from the run's folder alone."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedgates.report.document import document
from fedgates.report.run_data import gather
from fedgates.util.files import write_atomically

FILE_NAME = "report.html"


def write_page(folder: Path, defaults: Mapping[str, Any] | None = None, *, under_way: bool = False) -> Path:
    """Write ``report.html`` into a run's folder.

    Parameters
    ----------
    folder : Path
        As the run left it, or as it is so far.
    defaults : mapping, optional
        Default of each key of the app's run config, which says what was changed. By default those of the app that this package
        lies in.
    under_way : bool
        Whether a process is still at the run, which the page then says; it loads itself anew until a page without it is there.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ConfigError
        It is no run's folder.
    OSError
        The page cannot be written.
    """
    page = document(gather(folder, defaults, under_way=under_way))
    own = folder / f".{os.getpid()}.{FILE_NAME}"  # the run may write its page at the same moment
    write_atomically(own, page.encode("utf-8"))
    return own.replace(folder / FILE_NAME)


__all__ = ["FILE_NAME", "write_page"]
