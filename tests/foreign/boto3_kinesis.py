"""boto3 against a Kinesis endpoint: boto3_kinesis.py ENDPOINT.

Prints `ok NAME` or `FAILED NAME reason` for each check and exits 1 if one failed.
"""

import sys
import uuid

from botocore.exceptions import ClientError
from kinesis_client import all_shards, connect

NAME = f"boto3-{uuid.uuid4().hex[:12]}"
SHARDS = 4
ENTRIES = [
    {"Data": f"record {n}".encode(), "PartitionKey": f"key \u00e9\u2028\x01 {n % 7}"}
    for n in range(500)
]


def refusal(call, **arguments):
    """Code and message of the error that a call must end with."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        assert error.response["ResponseMetadata"]["RequestId"], error.response
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
    raise AssertionError(f"not refused: {answer}")


def expect_refusal(code, call, **arguments):
    got, message = refusal(call, **arguments)
    assert got == code, f"{got}: {message}"
    return message


def shard_ids(client):
    return [shard["ShardId"] for shard in all_shards(client, NAME)]


def read_all(client, shard, **position):
    answer = client.get_shard_iterator(StreamName=NAME, ShardId=shard, **position)
    records = []
    while True:
        answer = client.get_records(
            ShardIterator=answer.get("ShardIterator") or answer["NextShardIterator"], Limit=100
        )
        records += answer["Records"]
        if answer["MillisBehindLatest"] == 0 and not answer["Records"]:
            return records


def a_missing_stream_is_named(client):
    put = {"Data": b"x", "PartitionKey": "k"}
    message = expect_refusal(
        "ResourceNotFoundException", client.put_record, StreamName="missing", **put
    )
    assert message == "Stream missing under account 000000000000 not found.", message


def a_stream_becomes_active(client):
    client.create_stream(StreamName=NAME, ShardCount=SHARDS)
    client.get_waiter("stream_exists").wait(
        StreamName=NAME, WaiterConfig={"Delay": 0.1, "MaxAttempts": 300}
    )
    described = client.describe_stream(StreamName=NAME)["StreamDescription"]
    assert described["StreamStatus"] == "ACTIVE", described
    assert len(described["Shards"]) == SHARDS, described


def a_stream_cannot_be_created_twice(client):
    expect_refusal("ResourceInUseException", client.create_stream, StreamName=NAME, ShardCount=1)


def a_stream_is_found_by_name_and_arn(client):
    assert NAME in client.list_streams(Limit=10000)["StreamNames"]
    summary = client.describe_stream_summary(StreamName=NAME)["StreamDescriptionSummary"]
    again = client.describe_stream_summary(StreamARN=summary["StreamARN"])
    assert again["StreamDescriptionSummary"] == summary
    assert summary["OpenShardCount"] == SHARDS, summary
    assert summary["StreamCreationTimestamp"].year >= 2020, summary


def shards_are_listed_page_by_page(client):
    first = client.list_shards(StreamName=NAME, MaxResults=3, ShardFilter={"Type": "AT_LATEST"})
    second = client.list_shards(NextToken=first["NextToken"])
    found = [shard["ShardId"] for shard in first["Shards"] + second["Shards"]]
    assert found == [f"shardId-{n:012}" for n in range(SHARDS)], found
    pages = client.get_paginator("list_shards").paginate(StreamName=NAME)
    assert [len(page["Shards"]) for page in pages] == [SHARDS]
    expect_refusal(
        "InvalidArgumentException",
        client.list_shards,
        StreamName=NAME,
        NextToken=first["NextToken"],
    )


def many_records_come_back_as_they_were(client):
    answer = client.put_records(StreamName=NAME, Records=ENTRIES)
    assert answer["FailedRecordCount"] == 0, answer
    stored = {
        (shard, record["SequenceNumber"]): (record["Data"], record["PartitionKey"])
        for shard in shard_ids(client)
        for record in read_all(client, shard, ShardIteratorType="TRIM_HORIZON")
    }
    assert len(stored) == len(ENTRIES), len(stored)
    for entry, result in zip(ENTRIES, answer["Records"], strict=True):
        got = stored[(result["ShardId"], result["SequenceNumber"])]
        assert got == (entry["Data"], entry["PartitionKey"]), got


def one_record_goes_where_its_hash_key_says(client):
    put = {"StreamName": NAME, "PartitionKey": "k", "ExplicitHashKey": "0"}
    first = client.put_record(Data=b"", **put)
    every_byte = bytes(range(256))
    client.put_record(Data=every_byte, SequenceNumberForOrdering=first["SequenceNumber"], **put)
    shard = shard_ids(client)[0]
    assert first["ShardId"] == shard, first

    number = first["SequenceNumber"]
    after = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": number}
    assert [r["Data"] for r in read_all(client, shard, **after)] == [every_byte]
    at = {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": number}
    both = read_all(client, shard, **at)
    assert [r["Data"] for r in both] == [b"", every_byte]
    since = {"ShardIteratorType": "AT_TIMESTAMP"}
    since["Timestamp"] = both[0]["ApproximateArrivalTimestamp"]
    assert both[0] in read_all(client, shard, **since)
    assert read_all(client, shard, ShardIteratorType="LATEST") == []


def a_hash_key_beyond_the_last_is_refused(client):
    put = {"StreamName": NAME, "Data": b"x", "PartitionKey": "k"}
    bad = str(2**128)
    expect_refusal("InvalidArgumentException", client.put_record, ExplicitHashKey=bad, **put)


def a_record_above_the_limit_is_refused(client):
    put = {"StreamName": NAME, "Data": bytes(2**20), "PartitionKey": "k"}
    expect_refusal("InvalidArgumentException", client.put_record, **put)


def a_made_up_iterator_is_refused(client):
    expect_refusal("InvalidArgumentException", client.get_records, ShardIterator="AAAA")


def a_deleted_stream_is_gone(client):
    summary = client.describe_stream_summary(StreamName=NAME)["StreamDescriptionSummary"]
    client.delete_stream(StreamARN=summary["StreamARN"])
    client.get_waiter("stream_not_exists").wait(
        StreamName=NAME, WaiterConfig={"Delay": 0.1, "MaxAttempts": 300}
    )


CHECKS = (
    a_missing_stream_is_named,
    a_stream_becomes_active,
    a_stream_cannot_be_created_twice,
    a_stream_is_found_by_name_and_arn,
    shards_are_listed_page_by_page,
    many_records_come_back_as_they_were,
    one_record_goes_where_its_hash_key_says,
    a_hash_key_beyond_the_last_is_refused,
    a_record_above_the_limit_is_refused,
    a_made_up_iterator_is_refused,
    a_deleted_stream_is_gone,
)


def main(endpoint):
    client = connect(endpoint)
    failed = False
    for check in CHECKS:
        try:
            check(client)
            print(f"ok {check.__name__}", flush=True)
        except Exception as error:  # every failure is reported, whatever it is
            failed = True
            print(f"FAILED {check.__name__} {type(error).__name__}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
