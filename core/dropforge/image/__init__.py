"""The prediction API as a server of its own: what ``dropforge export image`` puts into a container.

It is run where the version was exported to; here it is tested, and copied from.
"""
