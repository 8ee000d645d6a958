"""The boto3 client that the scripts share: patient, and pointed at one endpoint."""

import boto3
from botocore.config import Config


def connect(endpoint):
    config = Config(
        retries={"mode": "standard", "max_attempts": 10},
        connect_timeout=5,
        read_timeout=30,
    )
    return boto3.client("kinesis", endpoint_url=endpoint, config=config)


def all_shards(client, stream):
    """Every shard of the stream, page by page."""
    page = client.list_shards(StreamName=stream)
    while True:
        yield from page["Shards"]
        token = page.get("NextToken")
        if not token:
            return
        page = client.list_shards(NextToken=token)
