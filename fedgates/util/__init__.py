"""Small tools that know nothing of the project: text, files, references by name."""
