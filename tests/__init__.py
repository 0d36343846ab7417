"""The project's tests. This file makes the folder win over the `tests` that a library (python-transip) installs."""
