"""Dense networks by name: those of the papers, small ones for the digits, linear ones, and the user's own: :func:`build`."""

from fedgates.models.catalogue import build, count

__all__ = ["build", "count"]
