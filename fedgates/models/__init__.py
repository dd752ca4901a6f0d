"""Dense networks by name (:func:`build`): networks from papers, small networks, linear models, and a user's own."""

from fedgates.models.catalogue import build, check, count, initial_rng

__all__ = ["build", "check", "count", "initial_rng"]
