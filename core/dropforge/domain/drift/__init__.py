"""Drift of the served data against what the live model was trained on, with calibrated false alarms.

`dropforge.domain.drift.assessment` judges a window, `dropforge.domain.drift.alarm` decides over windows.
"""
