"""Creates, deletes or describes a stream: stream.py create|delete|shards ENDPOINT NAME [SHARDS]."""

import json
import sys

from kinesis_client import all_shards, connect


def create(client, name, shards):
    client.create_stream(StreamName=name, ShardCount=int(shards))
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


def main(verb, endpoint, name, *rest):
    verbs = {"create": create, "delete": delete, "shards": shards}
    verbs[verb](connect(endpoint), name, *rest)


if __name__ == "__main__":
    main(*sys.argv[1:])
