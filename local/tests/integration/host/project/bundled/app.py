"""A function that ships a module which the runtime has as well."""

import os
import sys

import boto3


def handler(event, context):
    return {
        "boto3": getattr(boto3, "VALUE", None),
        "botocore": "botocore" in sys.modules,
        "parent": os.getppid(),
        "hash": hash("a string"),
    }
