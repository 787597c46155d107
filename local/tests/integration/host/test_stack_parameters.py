"""CloudFormation takes the parameters that a template has, and gives functions text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from dropforge_local.errors import DeployFailed

if TYPE_CHECKING:
    from local_host_support import Deployed

TEMPLATE = json.dumps(
    {
        "Parameters": {"Known": {"Type": "String", "Default": "1"}},
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
    }
)
UNKNOWN = [{"ParameterKey": name, "ParameterValue": "1"} for name in ("Known", "Nobodys", "Others")]
REFUSED = r"Parameters: \[Nobodys, Others\] do not exist in the template"


def test_parameters_that_the_template_does_not_have_are_refused(deployed: Deployed) -> None:
    client = deployed.host.client("cloudformation")
    with pytest.raises(ClientError, match=rf"ValidationError.*{REFUSED}"):
        client.create_stack(StackName="made", TemplateBody=TEMPLATE, Parameters=UNKNOWN)
    with pytest.raises(ClientError, match=rf"ValidationError.*{REFUSED}"):
        client.create_change_set(
            StackName="made",
            ChangeSetName="first",
            ChangeSetType="CREATE",
            TemplateBody=TEMPLATE,
            Parameters=UNKNOWN,
        )
    with pytest.raises(ClientError, match="does not exist"):
        client.describe_stacks(StackName="made")
    with pytest.raises(DeployFailed, match=r"Parameters: \[Nobodys\] do not exist in the template"):
        deployed.host.deploy("probe", {"Nobodys": "1"})


def test_a_parameter_that_a_new_template_lacks_keeps_no_value(deployed: Deployed) -> None:
    client = deployed.host.client("cloudformation")
    client.create_stack(StackName="shrinking", TemplateBody=TEMPLATE, Parameters=UNKNOWN[:1])
    client.get_waiter("stack_create_complete").wait(StackName="shrinking", WaiterConfig={"Delay": 1})
    smaller = json.dumps({"Resources": json.loads(TEMPLATE)["Resources"]})
    with pytest.raises(ClientError, match=r"Parameters: \[Known\] do not exist in the template"):
        client.update_stack(
            StackName="shrinking",
            TemplateBody=smaller,
            Parameters=[{"ParameterKey": "Known", "UsePreviousValue": True}],
        )


def test_numbers_and_booleans_of_a_template_are_text_in_a_functions_environment(deployed: Deployed) -> None:
    client, functions = deployed.host.client("cloudformation"), deployed.host.client("lambda")

    def template(**variables: Any) -> str:
        function = {
            "FunctionName": "typed",
            "Runtime": "python3.12",
            "Handler": "index.handler",
            "Role": "arn:aws:iam::000000000000:role/typed",
            "Code": {"ZipFile": "import os\ndef handler(event, context): return dict(os.environ)\n"},
            "Environment": {"Variables": variables},
        }
        return json.dumps({"Resources": {"Typed": {"Type": "AWS::Lambda::Function", "Properties": function}}})

    client.create_stack(
        StackName="typed", TemplateBody=template(COUNT=7, SHARE=0.25, ALWAYS=True, WORD="7.0")
    )
    client.get_waiter("stack_create_complete").wait(StackName="typed", WaiterConfig={"Delay": 1})
    expected = {"COUNT": "7", "SHARE": "0.25", "ALWAYS": "true", "WORD": "7.0"}
    shown = functions.get_function_configuration(FunctionName="typed")["Environment"]["Variables"]
    assert shown == expected
    seen = json.loads(functions.invoke(FunctionName="typed")["Payload"].read())
    assert expected.items() <= seen.items()
    client.update_stack(StackName="typed", TemplateBody=template(COUNT=8, ALWAYS=False))
    client.get_waiter("stack_update_complete").wait(StackName="typed", WaiterConfig={"Delay": 1})
    shown = functions.get_function_configuration(FunctionName="typed")["Environment"]["Variables"]
    assert shown == {"COUNT": "8", "ALWAYS": "false"}
