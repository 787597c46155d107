#!/usr/bin/env bash
# aws-sam-translator 1.115.0, of two ways to write the same parameter.
#
# CloudFormation takes "Fn::Sub" of a parameter wherever it takes "Ref" of it, whatever the parameter's type. Guess: so
# does the translator, which puts parameters in before it reads AutoPublishCodeSha256. Seen:
# - {Ref: P} of a String is taken. {"Fn::Sub": "${P}"} of the same is refused as no string, with P's value put in
#   already: what is left is the function, whose text has nothing more to put in.
# - Of a Number whose default YAML reads as one, "Fn::Sub" is refused for the whole template, which CloudFormation takes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.12 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check aws-sam-translator==1.115.0 boto3==1.43.106
"$folder/venv/bin/python" - <<'PYTHON'
import logging
import sys

import boto3
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

logging.disable(logging.CRITICAL)


def translated(parameter, digest):
    function = {
        "Type": "AWS::Serverless::Function",
        "Properties": {
            "Runtime": "python3.12",
            "Handler": "app.handler",
            "CodeUri": "s3://bucket/key",
            "AutoPublishAlias": "live",
            "AutoPublishCodeSha256": digest,
        },
    }
    template = {"Parameters": {"P": parameter}, "Resources": {"F": function}}
    session = boto3.Session(region_name="us-east-1")
    try:
        found = Translator({}, Parser(), boto_session=session).translate(template, {})
    except InvalidDocumentException as error:
        return "; ".join(each.message for each in error.causes)
    return next(name for name in found["Resources"] if name.startswith("FVersion"))


text, number = {"Type": "String", "Default": "abc"}, {"Type": "Number", "Default": 90}
seen = [
    translated(text, {"Ref": "P"}),
    translated(text, {"Fn::Sub": "${P}"}),
    translated(number, {"Fn::Sub": "${P}"}),
]
expected = ["FVersionabc", "AutoPublishCodeSha256 must be a string", "Invalid Fn::Sub variable value 90"]
for each, wanted in zip(seen, expected):
    print(each)
    if wanted not in each:
        sys.exit(f"it was: {wanted}")
PYTHON
