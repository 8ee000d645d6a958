// Every operation through the unmodified JavaScript SDK v3: node sdk_client.mjs ENDPOINT. Run it where
// @aws-sdk/client-kinesis can be found. Ends with 0 when all is as it should be.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.cwd(), "package.json"));
const {
  KinesisClient, CreateStreamCommand, DeleteStreamCommand, DescribeStreamCommand, DescribeStreamSummaryCommand,
  ListStreamsCommand, ListShardsCommand, PutRecordCommand, PutRecordsCommand, GetShardIteratorCommand,
  GetRecordsCommand, waitUntilStreamExists, waitUntilStreamNotExists,
} = require("@aws-sdk/client-kinesis");

const client = new KinesisClient({
  endpoint: process.argv[2],
  region: "us-east-1",
  credentials: { accessKeyId: "test", secretAccessKey: "test" },
});
const send = (command) => client.send(command);
const StreamName = `javascript-${Date.now()}`;

await send(new CreateStreamCommand({ StreamName, ShardCount: 2 }));
await waitUntilStreamExists({ client, maxWaitTime: 10, minDelay: 1 }, { StreamName });
assert((await send(new ListStreamsCommand({ Limit: 10000 }))).StreamNames.includes(StreamName));
const { StreamDescription } = await send(new DescribeStreamCommand({ StreamName }));
const StreamARN = StreamDescription.StreamARN;
const { StreamDescriptionSummary } = await send(new DescribeStreamSummaryCommand({ StreamARN }));
assert.equal(StreamDescriptionSummary.OpenShardCount, 2);
assert(StreamDescriptionSummary.StreamCreationTimestamp instanceof Date);
const page = await send(new ListShardsCommand({ StreamName, MaxResults: 1 }));
const rest = await send(new ListShardsCommand({ NextToken: page.NextToken }));
const shards = [...page.Shards, ...rest.Shards].map((shard) => shard.ShardId);
assert.deepEqual(shards, ["shardId-000000000000", "shardId-000000000001"]);

const Records = Array.from({ length: 300 }, (_, index) => ({
  Data: new TextEncoder().encode(`record ${index}`),
  PartitionKey: `key-é-${index % 5}`,
}));
const put = await send(new PutRecordsCommand({ StreamName, Records }));
assert.equal(put.FailedRecordCount, 0);
await send(new PutRecordCommand({ StreamARN, Data: new Uint8Array([0, 255]), PartitionKey: "k" }));
// Concurrent requests share one HTTP/2 connection.
await Promise.all(Array.from({ length: 20 }, (_, index) =>
  send(new PutRecordCommand({ StreamName, Data: new Uint8Array(100_000), PartitionKey: `${index}` }))));

const seen = new Map();
for (const ShardId of shards) {
  let { ShardIterator } = await send(
    new GetShardIteratorCommand({ StreamName, ShardId, ShardIteratorType: "TRIM_HORIZON" }));
  for (;;) {
    const answer = await send(new GetRecordsCommand({ ShardIterator, Limit: 100 }));
    for (const record of answer.Records) seen.set(`${ShardId} ${record.SequenceNumber}`, record);
    if (answer.Records.length === 0) break;
    ShardIterator = answer.NextShardIterator;
  }
}
assert.equal(seen.size, 321);
put.Records.forEach((result, index) => {
  const record = seen.get(`${result.ShardId} ${result.SequenceNumber}`);
  assert.equal(record.PartitionKey, Records[index].PartitionKey);
  assert.equal(new TextDecoder().decode(record.Data), `record ${index}`);
});
await assert.rejects(
  send(new PutRecordCommand({ StreamName: "missing", Data: new Uint8Array(1), PartitionKey: "k" })),
  { name: "ResourceNotFoundException", message: "Stream missing under account 000000000000 not found." });

await send(new DeleteStreamCommand({ StreamName }));
await waitUntilStreamNotExists({ client, maxWaitTime: 10, minDelay: 1 }, { StreamName });
console.log("@aws-sdk/client-kinesis", require("@aws-sdk/client-kinesis/package.json").version, "ok");
