"""Creates, deletes, describes or reshards a stream.

stream.py create|delete|shards|split|merge ENDPOINT NAME [SHARDS]
"""

import json
import sys

from kinesis_client import all_shards, connect


def create(client, name, shards):
    client.create_stream(StreamName=name, ShardCount=int(shards))
    wait_until_active(client, name)


def wait_until_active(client, name):
    waiter = client.get_waiter("stream_exists")
    waiter.wait(StreamName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})


def delete(client, name):
    client.delete_stream(StreamName=name, EnforceConsumerDeletion=True)


def shards(client, name):
    for shard in all_shards(client, name):
        hashes = shard["HashKeyRange"]
        line = {
            "shard": shard["ShardId"],
            "first": hashes["StartingHashKey"],
            "last": hashes["EndingHashKey"],
        }
        print(json.dumps(line))


def open_shards(client, name):
    """Those that take records: first and last hash key and id, in the order of hash keys."""
    found = []
    for shard in all_shards(client, name):
        if "EndingSequenceNumber" not in shard["SequenceNumberRange"]:
            hashes = shard["HashKeyRange"]
            bounds = int(hashes["StartingHashKey"]), int(hashes["EndingHashKey"])
            found.append((*bounds, shard["ShardId"]))
    return sorted(found)


def split(client, name):
    first, last, shard = max(open_shards(client, name), key=lambda s: s[1] - s[0])
    middle = first + (last - first + 1) // 2
    client.split_shard(StreamName=name, ShardToSplit=shard, NewStartingHashKey=str(middle))
    wait_until_active(client, name)


def merge(client, name):
    shards = open_shards(client, name)
    if len(shards) == 1:
        # Nothing to merge it with: the other way of resharding.
        return split(client, name)
    pairs = zip(shards, shards[1:])
    left, right = min(pairs, key=lambda pair: pair[1][1] - pair[0][0])
    client.merge_shards(StreamName=name, ShardToMerge=left[2], AdjacentShardToMerge=right[2])
    wait_until_active(client, name)


def main(verb, endpoint, name, *rest):
    verbs = {"create": create, "delete": delete, "shards": shards, "split": split, "merge": merge}
    verbs[verb](connect(endpoint), name, *rest)


if __name__ == "__main__":
    main(*sys.argv[1:])
