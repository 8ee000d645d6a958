"""Prints every record of a stream as one line of JSON: read_stream.py ENDPOINT NAME.

A shard ends for this reader when it is closed, or when an answer is empty and not behind.
"""

import base64
import json
import sys

from kinesis_client import all_shards, connect


def records(client, stream, shard):
    answer = client.get_shard_iterator(
        StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )
    iterator = answer["ShardIterator"]
    while iterator:
        answer = client.get_records(ShardIterator=iterator, Limit=10000)
        yield from answer["Records"]
        if not answer["Records"] and not answer.get("MillisBehindLatest"):
            return
        iterator = answer.get("NextShardIterator")


def main(endpoint, stream):
    client = connect(endpoint)
    for shard in all_shards(client, stream):
        for record in records(client, stream, shard["ShardId"]):
            line = {
                "shard": shard["ShardId"],
                "seq": record["SequenceNumber"],
                "pk": record["PartitionKey"],
                "data_b64": base64.b64encode(record["Data"]).decode(),
                "at": round(record["ApproximateArrivalTimestamp"].timestamp() * 1000),
            }
            print(json.dumps(line))


if __name__ == "__main__":
    main(*sys.argv[1:])
