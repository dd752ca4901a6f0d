"""Comparing runs: what a study file asks for, numbers over seeds, tables and figures. Knows nothing of Flower."""

from fedgates.compare.output import write_comparison
from fedgates.compare.runs import Group, Run, by_what_differs, read_run
from fedgates.compare.study import Job, Question, Study, read_study
from fedgates.compare.tables import machine, markdown, spread

__all__ = [
    "Group",
    "Job",
    "Question",
    "Run",
    "Study",
    "by_what_differs",
    "machine",
    "markdown",
    "read_run",
    "read_study",
    "spread",
    "write_comparison",
]
