"""Helpers without knowledge of the project: text, files, imports by name, axes."""
