#!/usr/bin/env bash
# A SAM template with a loop (Fn::ForEach): it is valid, and building it ends in an AttributeError.
#
# Expected: loops are expanded by each command of aws-sam-cli, as its releases since 1.160 say that they are known, or a
# message names what is missing. Seen with aws-sam-cli 1.170.0: `sam validate --lint` calls the template valid, `sam build`
# ends with "'list' object has no attribute 'get'" (the loop's list is taken for a resource), and names no option; with
# `--language-extensions` it builds, and the template that it writes still holds the loop, for AWS to expand.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3.12 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check aws-sam-cli==1.170.0
export PATH="$work/venv/bin:$PATH" SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 HOME="$work"
mkdir "$work/app" && cd "$work/app"
mkdir fn && echo 'def handler(event, context): return 1' > fn/app.py
cat > template.yaml <<'YAML'
AWSTemplateFormatVersion: "2010-09-09"
Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]
Resources:
  Fn::ForEach::Logs:
    - Name
    - [One, Two]
    - ${Name}Log: {Type: AWS::Logs::LogGroup, Properties: {RetentionInDays: 7}}
  One:
    Type: AWS::Serverless::Function
    Properties: {Runtime: python3.12, Handler: app.handler, CodeUri: fn/, LoggingConfig: {LogGroup: !Ref OneLog}}
YAML
sam validate --lint | grep "is a valid SAM Template"
status=0; said=$(sam build 2>&1) || status=$?
echo "sam build: status $status"; grep "^Error:" <<<"$said"
[[ $status != 0 && $said == *"'list' object has no attribute 'get'"* && $said != *language-extensions* ]]
sam build --language-extensions > built.txt 2>&1
grep -q "Build Succeeded" built.txt
grep "Fn::ForEach::Logs" .aws-sam/build/template.yaml
echo "as recorded"
