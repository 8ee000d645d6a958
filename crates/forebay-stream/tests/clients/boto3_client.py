"""Every operation through unmodified boto3: python boto3_client.py ENDPOINT. Ends with 0 when all is as it should be."""
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint = sys.argv[1]
client = boto3.client(
    "kinesis", endpoint_url=endpoint, region_name="us-east-1",
    aws_access_key_id="test", aws_secret_access_key="test",
    config=Config(retries={"max_attempts": 0}))


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
        assert error.response["ResponseMetadata"]["RequestId"], error.response
        return error.response["Error"]["Message"]
    raise AssertionError(f"not refused with {code}")


def read_all(shard, **position):
    iterator = client.get_shard_iterator(StreamName=name, ShardId=shard, **position)["ShardIterator"]
    records = []
    while True:
        answer = client.get_records(ShardIterator=iterator, Limit=100)
        records += answer["Records"]
        if answer["MillisBehindLatest"] == 0 and not answer["Records"]:
            return records
        iterator = answer["NextShardIterator"]


name = f"boto3-{time.time_ns()}"
client.create_stream(StreamName=name, ShardCount=4)
client.get_waiter("stream_exists").wait(StreamName=name)
refused("ResourceInUseException", client.create_stream, StreamName=name, ShardCount=1)
assert name in client.list_streams(Limit=10000)["StreamNames"]

described = client.describe_stream(StreamName=name)["StreamDescription"]
arn = described["StreamARN"]
assert described["StreamStatus"] == "ACTIVE" and len(described["Shards"]) == 4
summary = client.describe_stream_summary(StreamARN=arn)["StreamDescriptionSummary"]
assert summary["OpenShardCount"] == 4 and summary["StreamCreationTimestamp"].year >= 2020

first = client.list_shards(StreamName=name, MaxResults=3, ShardFilter={"Type": "AT_LATEST"})
second = client.list_shards(NextToken=first["NextToken"])
shards = [shard["ShardId"] for shard in first["Shards"] + second["Shards"]]
assert shards == [f"shardId-{index:012}" for index in range(4)], shards
assert [len(p["Shards"]) for p in client.get_paginator("list_shards").paginate(StreamName=name)] == [4]

entries = [{"Data": f"record {index}".encode(), "PartitionKey": f"key é\u2028\x01 {index % 7}"} for index in range(500)]
answer = client.put_records(StreamARN=arn, Records=entries)
assert answer["FailedRecordCount"] == 0 and len(answer["Records"]) == 500
single = client.put_record(StreamName=name, Data=b"", PartitionKey="k", ExplicitHashKey="0")
assert single["ShardId"] == shards[0]
client.put_record(StreamName=name, Data=bytes(range(256)), PartitionKey="k", ExplicitHashKey="0",
                  SequenceNumberForOrdering=single["SequenceNumber"])

stored = {}
for shard in shards:
    for record in read_all(shard, ShardIteratorType="TRIM_HORIZON"):
        stored[(shard, record["SequenceNumber"])] = (record["Data"], record["PartitionKey"])
for entry, result in zip(entries, answer["Records"], strict=True):
    expected = (entry["Data"], entry["PartitionKey"])
    assert stored[(result["ShardId"], result["SequenceNumber"])] == expected
assert len(stored) == 502

last = read_all(shards[0], ShardIteratorType="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=single["SequenceNumber"])
assert [record["Data"] for record in last] == [bytes(range(256))]
last = read_all(shards[0], ShardIteratorType="AT_SEQUENCE_NUMBER", StartingSequenceNumber=single["SequenceNumber"])
assert [record["Data"] for record in last] == [b"", bytes(range(256))]
assert read_all(shards[0], ShardIteratorType="LATEST") == []
since = last[0]["ApproximateArrivalTimestamp"]
assert last[0] in read_all(shards[0], ShardIteratorType="AT_TIMESTAMP", Timestamp=since)

missing = refused("ResourceNotFoundException", client.put_record, StreamName="missing", Data=b"x", PartitionKey="k")
assert missing == "Stream missing under account 000000000000 not found.", missing
refused("InvalidArgumentException", client.put_record, StreamName=name, Data=b"x", PartitionKey="k",
        ExplicitHashKey=str(2 ** 128))
refused("InvalidArgumentException", client.put_record, StreamName=name, Data=bytes(2 ** 20), PartitionKey="k")
refused("InvalidArgumentException", client.list_shards, StreamName=name, NextToken=first["NextToken"])
refused("InvalidArgumentException", client.get_records, ShardIterator="AAAA")

client.delete_stream(StreamARN=arn)
client.get_waiter("stream_not_exists").wait(StreamName=name)
print("boto3", boto3.__version__, "ok")
