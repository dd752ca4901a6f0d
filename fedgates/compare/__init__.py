"""Compare runs: study files, statistics over seeds, tables and figures. Imports neither Flower nor torch."""

from fedgates.compare.output import write_comparison
from fedgates.compare.runs import Group, Run, group_runs, read_run
from fedgates.compare.study import Job, Question, Study, read_study
from fedgates.compare.tables import machine, markdown, spread

__all__ = [
    "Group",
    "Job",
    "Question",
    "Run",
    "Study",
    "group_runs",
    "machine",
    "markdown",
    "read_run",
    "read_study",
    "spread",
    "write_comparison",
]
