"""Experiment trackers: a run's rounds, told to TensorBoard, Weights & Biases or MLflow as they end. Off by default.

A tracker is told what stands in ``rounds.jsonl`` and has no part in the run: one that fails is left out, and the run goes on.
Each has a file here, which is imported, and its package with it, where `trackers` names it, and nowhere else.
"""

from fedgates.trackers.base import Run, Tracker, numbers
from fedgates.trackers.following import TrackerError, following
from fedgates.trackers.named import check
from fedgates.trackers.retelling import retell

__all__ = ["Run", "Tracker", "TrackerError", "check", "following", "numbers", "retell"]
