"""The report of a run: ``report.html``, ``curves.png`` and a view in the terminal, made from the files in the run's folder.

:func:`write_page` writes the page. ``ReportCallback`` (in ``fedgates.report.callback``) makes page, curves and summary at the
end of a run.
"""

from fedgates.report.callback import ReportCallback
from fedgates.report.page import write_page

__all__ = ["ReportCallback", "write_page"]
