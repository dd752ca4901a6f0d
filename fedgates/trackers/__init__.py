"""Experiment trackers: TensorBoard, Weights & Biases, MLflow, or a class of the user's own. Off by default.

A tracker receives the lines of ``rounds.jsonl`` and has no part in the run: one that fails is left out, and the run continues.
Each is a module of its own, imported, with its package, only if `trackers` names it.
"""

from fedgates.trackers.base import Run, Tracker, numbers
from fedgates.trackers.callback import TrackerCallback, TrackerError
from fedgates.trackers.named import check
from fedgates.trackers.replay import replay

__all__ = ["Run", "Tracker", "TrackerCallback", "TrackerError", "check", "numbers", "replay"]
