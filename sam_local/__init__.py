"""Invokes every function in a container with every example event, against the local host.

``python -m sam_local`` is ``make sam-local``: aws-sam-cli runs what `sam build` made, with the environment of
a stack that is deployed to the local host and has a live model. Where no container engine can run, it says
SKIP and why.
"""
