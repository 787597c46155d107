"""Deploys this folder's application on a local AWS, has it learn, and asks it: ``python run.py``."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from pathlib import Path

from dropforge_local.api_urls import local_api_url
from dropforge_local.host import LocalHost

HERE = Path(__file__).parent


def learn(host: LocalHost, outputs: dict[str, str]) -> None:
    """Upload data and code, run the state machine, and wait until the endpoint answers."""
    s3, machines, sagemaker = (host.client(name) for name in ("s3", "stepfunctions", "sagemaker"))
    for file in (HERE / "training").glob("*.py"):
        s3.upload_file(str(file), outputs["Bucket"], f"code/{file.name}")
    s3.upload_file(str(HERE / "deliveries.csv"), outputs["Bucket"], "deliveries/deliveries.csv")
    execution = machines.start_execution(stateMachineArn=outputs["Learning"], name="first")["executionArn"]
    while (ended := machines.describe_execution(executionArn=execution))["status"] == "RUNNING":
        time.sleep(0.2)
    if ended["status"] != "SUCCEEDED":
        sys.exit(f"The state machine {ended['status']}: {ended.get('error')} {ended.get('cause')}")
    sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName="delivery-times", WaiterConfig={"Delay": 1, "MaxAttempts": 120}
    )


def estimate(url: str, km: float, parcels: int) -> float:
    """Ask the deployed API how many minutes a delivery takes."""
    request = urllib.request.Request(  # noqa: S310 - the host's own http URL
        f"{url}/estimate", data=json.dumps({"km": km, "parcels": parcels}).encode(), method="POST"
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return float(json.loads(answer.read())["minutes"])


def main() -> int:
    """The whole way, on state that goes with the process."""
    with LocalHost(HERE, auth=True) as host:
        outputs = host.deploy("delivery-times")
        learn(host, outputs)
        url = local_api_url(outputs["ApiUrl"], host.endpoint_url)
        print(f"10 km with 2 parcels: {estimate(url, 10, 2)} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
