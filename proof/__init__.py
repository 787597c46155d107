"""Proves before anything is deployed that the workflow fits together, and that roles may do what they need.

``python -m proof workflow`` is part of ``make check``, ``python -m proof iam`` of ``make audit``.
"""
