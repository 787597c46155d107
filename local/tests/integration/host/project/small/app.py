"""A function with little memory that loads nothing but the standard library."""

import os
import random
import sys
import time


def handler(event, context):
    block = bytearray(event.get("megabytes", 0) * 1024 * 1024)
    time.sleep(0.5 if block else 0)
    return {
        "bytes": len(block),
        "variables": dict(os.environ),
        "folder": os.getcwd(),
        "path": sys.path,
        "own": sorted({"app", "probe_layer"} & sys.modules.keys()),
        "main": sys.modules["__main__"].__file__,
        "arguments": sys.argv,
        "timezone": time.tzname[0],
        "descriptors": len(os.listdir("/proc/self/fd")),
        "random": random.random(),  # noqa: S311
        "hash": hash("a string"),
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
    }
