"""Writing ``report.html``, a page that needs no other file and no network, from the templates beside this file."""

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from fedgates.report import figures, numbers, tables
from fedgates.report.run_data import load_run_data
from fedgates.runs import totals
from fedgates.runs.folder import REPORT
from fedgates.util.files import write_atomically
from fedgates.util.text import one_line, printable

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"
"""Templates of HTML. Their names end in ``.md`` because a Flower app bundle takes no file that ends in ``.html``."""


def write_page(folder: Path, *, under_way: bool = False) -> Path:
    """Write ``report.html`` in the folder of a run and return its path.

    Parameters
    ----------
    folder : Path
        The folder of a run, finished or not.
    under_way : bool
        Whether the run is still running. The page then shows its progress and reloads itself, until a page of a run that ended
        replaces it.

    Raises
    ------
    ConfigError
        `folder` is not the folder of a run.
    OSError
        The page cannot be written.
    """
    page = _environment().get_template("page.html").render(run=load_run_data(folder, under_way=under_way))
    own = folder / f".{os.getpid()}.{REPORT}"  # renamed, so that a symbolic link is replaced and not followed
    write_atomically(own, page.encode("utf-8"))
    return own.replace(folder / REPORT)


@lru_cache
def _environment() -> "Environment":
    """Return the templates' environment, which escapes every value but the charts and the style sheet.

    Characters that are not printable, which may change the direction of writing, are escaped, too.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # noqa: PLC0415  # the command starts without it

    environment = Environment(
        loader=FunctionLoader(lambda name: (_TEMPLATES / f"{name}.md").read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value, keep="\n") if type(value) is str else value,  # markup is of another type
    )
    environment.filters |= {"line": one_line, "number": totals.format_number}
    environment.filters |= {name: getattr(numbers, name) for name in ("count", "duration", "percent", "plain", "size", "times")}
    environment.globals |= {"figures": figures, "tables": tables, "totals": totals}
    return environment
