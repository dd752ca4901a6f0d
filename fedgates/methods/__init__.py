"""Base classes and helper functions of the methods, for the published ones and for your own."""

from fedgates.methods.base import Method, Spec
from fedgates.methods.masks import MaskMethod, add_votes, threshold
from fedgates.methods.metrics import MaskCounts
from fedgates.methods.together import Together, train_together
from fedgates.methods.training import Task, train_epochs
from fedgates.methods.weights import WeightMethod, finite_copy, largest, mean_values, to_float32

__all__ = [
    "MaskCounts",
    "MaskMethod",
    "Method",
    "Spec",
    "Task",
    "Together",
    "WeightMethod",
    "add_votes",
    "finite_copy",
    "largest",
    "mean_values",
    "threshold",
    "to_float32",
    "train_epochs",
    "train_together",
]
