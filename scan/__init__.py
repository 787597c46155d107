"""Scans what would be deployed: the template by two scanners, the dependencies by their advisories.

``python -m scan`` is ``make scan``. Each finding that stays has its reason in ``scan/exceptions.yaml``.
"""
