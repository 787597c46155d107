"""Every error that the local host raises on purpose; the message says what is wrong and what to do."""

from __future__ import annotations


class LocalHostError(Exception):
    """Base of the local host's errors."""


class NotLinux(LocalHostError):
    """The host needs Linux: its process file system, process descriptors and parent-death signals."""


class HostAlreadyRunning(LocalHostError):
    """Another host owns the state directory; two would overwrite each other's state."""


class HostNotReady(LocalHostError):
    """The host process ended, or did not answer in time; the message carries the end of its log."""


class StateNotKept(LocalHostError):
    """A host on temporary state was to start again after it had ended."""


class InvalidTemplate(LocalHostError):
    """The SAM template can't be read, or asks for something that no build here can give."""


class BuildFailed(LocalHostError):
    """A function's or layer's build ended with an error; the message carries its output."""


class UnsafeArchive(LocalHostError):
    """A zip holds a path outside its folder, a link, or more bytes than AWS accepts."""


class DeployFailed(LocalHostError):
    """CloudFormation refused or rolled back the stack; the message lists every resource's reason."""


class SeamChanged(LocalHostError):
    """What the glue builds on in MiniStack is gone or has another shape: the pinned version changed."""


class InvalidFault(LocalHostError):
    """A fault to inject names no kind, no state or no error that the host knows."""
