"""``report.html``: what a run did, on one page that needs nothing but itself. Made from the run's folder alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedgates.disk import write_atomically
from fedgates.page.document import document
from fedgates.page.story import gather

FILE_NAME = "report.html"


def write_page(folder: Path, defaults: Mapping[str, Any] | None = None) -> Path:
    """Write ``report.html`` into a run's folder.

    Parameters
    ----------
    folder : Path
        As the run left it; the run may still be under way, or have ended early.
    defaults : mapping, optional
        Default of each key of the app's run config, which says what was changed. By default those of the app that this package
        lies in.

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
    page = document(gather(folder, defaults))
    target = folder / FILE_NAME
    write_atomically(target, page.encode("utf-8"))
    return target


__all__ = ["FILE_NAME", "write_page"]
