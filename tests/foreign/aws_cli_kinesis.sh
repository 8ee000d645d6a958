#!/usr/bin/env bash
# The AWS CLI against a Kinesis endpoint: aws_cli_kinesis.sh ENDPOINT AWS...
# where AWS... is the command that starts the CLI.
#
# Prints `ok NAME` or `FAILED NAME reason` for each check and exits 1 if one failed.
set -uo pipefail

endpoint=$1
shift
cli=("$@" kinesis --endpoint-url "$endpoint" --output text)
# Version 2 pages its output and reads data as base64 unless told otherwise; version 1 does neither.
if ! "$@" --version 2>&1 | grep -q '^aws-cli/1'; then
  cli+=(--no-cli-pager --cli-binary-format raw-in-base64-out)
fi
stream="aws-cli-$$-$RANDOM"
failed=0

kinesis() { "${cli[@]}" "$@"; }

# check NAME EXPECTED COMMAND...: the output of the command is EXPECTED.
check() {
  local name=$1 expected=$2 got
  shift 2
  if ! got=$("$@" 2>&1); then
    printf 'FAILED %s %s\n' "$name" "${got//$'\n'/ }"
    failed=1
  elif [[ $got != "$expected" ]]; then
    printf 'FAILED %s expected %q, got %q\n' "$name" "$expected" "$got"
    failed=1
  else
    printf 'ok %s\n' "$name"
  fi
}

# The class of the error that a command ends with.
error_of() {
  local message
  message=$(kinesis "$@" 2>&1) && return 1
  grep -o '([A-Za-z]*)' <<<"$message"
}

# All data of a shard, one record per line.
data_of() {
  local iterator
  iterator=$(kinesis get-shard-iterator --stream-name "$stream" --shard-id "$1" \
    --shard-iterator-type TRIM_HORIZON --query ShardIterator) || return
  kinesis get-records --shard-iterator "$iterator" --query 'Records[].[Data]' |
    while read -r data; do base64 -d <<<"$data"; echo; done
}

put_many() {
  kinesis put-records --stream-name "$stream" --query FailedRecordCount \
    --records Data=two,PartitionKey=a Data=three,PartitionKey=b
}

check missing_stream '(ResourceNotFoundException)' error_of describe-stream-summary --stream-name "$stream"
check create_stream '' kinesis create-stream --stream-name "$stream" --shard-count 1
check wait_until_active '' kinesis wait stream-exists --stream-name "$stream"
check describe_summary $'ACTIVE\t1' kinesis describe-stream-summary --stream-name "$stream" \
  --query 'StreamDescriptionSummary.[StreamStatus,OpenShardCount]'
check list_streams "$stream" kinesis list-streams --query "StreamNames[?@=='$stream']"
shard=$(kinesis list-shards --stream-name "$stream" --query 'Shards[0].ShardId')
check put_record "$shard" kinesis put-record --stream-name "$stream" --partition-key k \
  --data one --query ShardId
check put_records 0 put_many
check get_records $'one\ntwo\nthree' data_of "$shard"
check delete_stream '' kinesis delete-stream --stream-name "$stream"
exit "$failed"
