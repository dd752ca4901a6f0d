"""Federated learning where clients send gates, not weights."""
