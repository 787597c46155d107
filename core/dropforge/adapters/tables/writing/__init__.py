"""Writes what is kept: parts of splits and of rejects, profiles and samples."""
