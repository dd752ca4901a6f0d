"""Experiment trackers: TensorBoard, Weights & Biases, MLflow, or a user-defined class; off by default.

Trackers receive the lines of ``rounds.jsonl`` and do not affect the run: a tracker that fails is dropped, and the run
continues. The module of a tracker, with its package, is imported only if the key `trackers` names it.
"""

from fedgates.trackers.base import Run, Tracker, numbers
from fedgates.trackers.callback import TrackerCallback, TrackerError
from fedgates.trackers.named import check
from fedgates.trackers.replay import replay

__all__ = ["Run", "Tracker", "TrackerCallback", "TrackerError", "check", "numbers", "replay"]
