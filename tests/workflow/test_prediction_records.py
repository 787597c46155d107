"""Records of a stream and of a queue: each answered once by id or set aside, whatever is sent or killed."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dropforge_local.host import LocalHost
from tests.workflow.stack import Stack, wait_for
from tests.workflow.test_main_job import rows_of

RECORDS = 1000
POISON = {
    "no-json": b"{not json",
    "no-text": b"\xff\xfe\x00",
    "other-shape": b'{"rows": []}',
    "no-instance": b'{"instances": []}',
    "too-many": json.dumps({"instances": [{}] * 501}).encode(),
}


def test_a_thousand_records_are_each_answered_once_or_set_aside(
    host: LocalHost, deploy_sample: Callable[..., Stack], samples: Mapping[str, Path]
) -> None:
    kinesis, sqs, events = host.client("kinesis"), host.client("sqs"), host.client("events")
    kinesis.create_stream(StreamName="to-predict", ShardCount=2)
    stream_arn = kinesis.describe_stream_summary(StreamName="to-predict")["StreamDescriptionSummary"][
        "StreamARN"
    ]
    queue = sqs.create_queue(QueueName="to-predict", Attributes={"VisibilityTimeout": "30"})["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    answers = sqs.create_queue(QueueName="answers")["QueueUrl"]
    answers_arn = sqs.get_queue_attributes(QueueUrl=answers, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    events.put_rule(
        Name="answers",
        EventPattern=json.dumps({"source": ["dropforge"], "detail-type": ["Prediction"]}),
    )
    events.put_targets(Rule="answers", Targets=[{"Id": "answers", "Arn": answers_arn}])
    content = samples["breast-cancer"].read_bytes()
    stack = deploy_sample("breast-cancer", PredictionStream=stream_arn, PredictionQueue=queue_arn)

    # Before a model is live nothing can be answered, and nothing is lost by it.
    rows = rows_of(samples["breast-cancer"], without=("diagnosis", "id"))
    good = [json.dumps({"instance": rows[number % len(rows)]}).encode() for number in range(RECORDS)]
    bad = {**POISON, "bad-value": json.dumps({"instance": {**rows[0], "mean radius": "wide"}}).encode()}
    sent = 0
    for start in range(0, RECORDS // 2, 250):
        put = [
            {"Data": each, "PartitionKey": str(start + at)}
            for at, each in enumerate(good[start : start + 250])
        ]
        sent += len(put)
        assert kinesis.put_records(StreamName="to-predict", Records=put)["FailedRecordCount"] == 0
    for name, data in bad.items():
        kinesis.put_record(StreamName="to-predict", Data=data, PartitionKey=name)
    stack.train_and_deploy(content)

    # Kills: the function's environments end in the middle of what they do.
    lambda_ = host.client("lambda")
    function = stack.resource("PredictFunction")
    for at in range(RECORDS // 2, RECORDS, 10):
        entries = [{"Id": str(number), "MessageBody": good[number].decode()} for number in range(at, at + 10)]
        assert not sqs.send_message_batch(QueueUrl=queue, Entries=entries).get("Failed")
        sent += 10
        if at % 100 == 0:
            lambda_.update_function_configuration(FunctionName=function, Description=f"killed at {at}")
    texts = ("no-json", "other-shape", "bad-value")
    for name in texts:
        sqs.send_message(QueueUrl=queue, MessageBody=bad[name].decode())
    assert sent == RECORDS

    found: dict[str, list[Mapping[str, Any]]] = {}
    wait_for("every answer", lambda: read_answers(sqs, answers, found) == RECORDS, patience_s=240)
    dead = [
        json.loads(each) for each in read_all(sqs, stack.resource("UndeliveredEvents"), len(bad) + len(texts))
    ]
    assert sorted(each["error"]["type"] for each in dead) == sorted(
        ["MalformedJson"] * 3 + ["InvalidShape"] * 2 + ["TooMany"] * 2 + ["InvalidInstances"] * 2
    )
    assert all(each["record"]["source"] in (stream_arn, queue_arn) for each in dead)

    # One id, one answer, one logged prediction, the API's to the last digit.
    predictions = {}
    for events_of_one in found.values():
        assert all(each["predictions"] == events_of_one[0]["predictions"] for each in events_of_one)
        [prediction] = events_of_one[0]["predictions"]
        predictions[prediction["id"]] = prediction
    assert len(predictions) == RECORDS
    logged = logged_predictions(stack)
    assert logged.keys() == predictions.keys()
    for name, prediction in predictions.items():
        assert json.loads(logged[name]["output"]) == {
            key: value for key, value in prediction.items() if key not in ("id", "model_version")
        }

    # Delivered again by hand, as Lambda may: the same ids and answers, and nothing more is logged.
    [again] = [each for each in found if each.startswith("shardId")][:1]
    record = found[again][0]["record"]
    number = again.partition(":")[2]
    event = {
        "Records": [
            {
                "kinesis": {
                    "sequenceNumber": number,
                    "partitionKey": record["partition_key"],
                    "approximateArrivalTimestamp": found[again][0]["sent_at_ms"] / 1000,
                    "data": base64.b64encode(good[int(record["partition_key"])]).decode(),
                },
                "eventID": again,
                "eventSource": "aws:kinesis",
                "eventSourceARN": stream_arn,
            }
        ]
    }
    answer = lambda_.invoke(FunctionName=f"{function}:live", Payload=json.dumps(event).encode())
    assert json.loads(answer["Payload"].read()) == {"batchItemFailures": []}
    wait_for("the answer once more", lambda: len(read_again(sqs, answers, found)[again]) > 1 or None)
    assert all(each["predictions"] == found[again][0]["predictions"] for each in found[again])
    assert logged_predictions(stack).keys() == predictions.keys()

    # Watched as the API's are.
    window = stack.invoke("WatchModel", time=_iso(time.time()), at_once="yes")
    assert window["rows"] > 0


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def read_answers(sqs: Any, url: str, found: dict[str, list[Mapping[str, Any]]]) -> int:
    return len(read_again(sqs, url, found))


def read_again(
    sqs: Any, url: str, found: dict[str, list[Mapping[str, Any]]]
) -> dict[str, list[Mapping[str, Any]]]:
    """Take what lies in the queue of answers; answers by the record's id."""
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for each in messages:
            detail = json.loads(each["Body"])["detail"]
            found.setdefault(detail["record"]["id"], []).append(detail)
        entries = [
            {"Id": str(at), "ReceiptHandle": each["ReceiptHandle"]} for at, each in enumerate(messages)
        ]
        sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    return found


def read_all(sqs: Any, url: str, number: int) -> list[str]:
    bodies: dict[str, str] = {}

    def look() -> list[str] | None:
        for each in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", ()):
            bodies[each["MessageId"]] = each["Body"]
        return list(bodies.values()) if len(bodies) >= number else None

    return wait_for("the dead letters", look)


def logged_predictions(stack: Stack) -> dict[str, Mapping[str, Any]]:
    """Every item of the prediction log, by prediction id."""
    pages = (
        stack.host.client("dynamodb")
        .get_paginator("scan")
        .paginate(TableName=stack.outputs["PredictionsTable"])
    )
    return {
        item["sk"]["S"]: {"output": item["output"]["S"], "version": item["model_version"]["N"]}
        for page in pages
        for item in page["Items"]
    }
