"""The rounds of a federation."""
