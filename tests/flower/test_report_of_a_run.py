"""The report that a run writes is the one that ``fedgates report`` writes."""

import pytest
from loopback_runs import run

from fedgates.report import write_page


@pytest.mark.usefixtures("whole_runs")
def test_a_page_that_is_written_again_is_the_same(raw):
    folder = run(raw(strategy="fedpm", num_server_rounds=1, eps=0.01)).path
    page = (folder / "report.html").read_bytes()
    assert b"fedpm.eps=0.01" in page
    assert b"fedpm.prior=" not in page  # at the method's default, which the run recorded
    assert write_page(folder).read_bytes() == page
