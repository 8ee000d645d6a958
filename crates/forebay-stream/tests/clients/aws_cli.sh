#!/bin/sh
# Every operation through the unmodified AWS CLI, version 1 or 2: sh aws_cli.sh ENDPOINT. Ends with 0 when all is well.
set -eu
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1 AWS_PAGER=
export AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
endpoint=$1
kinesis() { aws kinesis "$@" --endpoint-url "$endpoint" --output text; }
same() { [ "$1" = "$2" ] || { echo "expected '$2', got '$1'" >&2; exit 1; }; }

name=cli-$$
# "payload" in base64, which version 2 expects and version 1 takes as text.
payload=cGF5bG9hZA==
kinesis create-stream --stream-name $name --shard-count 2
kinesis wait stream-exists --stream-name $name
same "$(kinesis describe-stream --stream-name $name --query StreamDescription.StreamStatus)" ACTIVE
same "$(kinesis describe-stream-summary --stream-name $name --query StreamDescriptionSummary.OpenShardCount)" 2
same "$(kinesis list-shards --stream-name $name --query 'length(Shards)')" 2
kinesis list-streams --query "StreamNames[?@=='$name']" | grep -q "$name"
number=$(kinesis put-record --stream-name $name --partition-key k --explicit-hash-key 0 --data $payload --query SequenceNumber)
same "$(kinesis put-records --stream-name $name --records Data=$payload,PartitionKey=a Data=$payload,PartitionKey=b --query FailedRecordCount)" 0
iterator=$(kinesis get-shard-iterator --stream-name $name --shard-id shardId-000000000000 \
    --shard-iterator-type AT_SEQUENCE_NUMBER --starting-sequence-number "$number" --query ShardIterator)
same "$(kinesis get-records --shard-iterator "$iterator" --query 'Records[0].PartitionKey')" k
same "$(kinesis get-records --shard-iterator "$iterator" --query 'Records[0].SequenceNumber')" "$number"
kinesis put-record --stream-name missing --partition-key k --data x 2>&1 | grep -q ResourceNotFoundException
kinesis delete-stream --stream-name $name
kinesis wait stream-not-exists --stream-name $name
aws --version | sed 's/$/ ok/'
