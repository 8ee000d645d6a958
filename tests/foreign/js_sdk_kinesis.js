// The AWS SDK for JavaScript against a Kinesis endpoint: js_sdk_kinesis.js ENDPOINT [http1].
//
// The client prefers HTTP/2, also without TLS; `http1` is for servers that do not speak it.
// Prints `ok NAME` or `FAILED NAME reason` for each check and exits 1 if one failed.
'use strict'

const assert = require('node:assert')
const crypto = require('node:crypto')
const {
  CreateStreamCommand,
  DeleteStreamCommand,
  DescribeStreamCommand,
  DescribeStreamSummaryCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
  KinesisClient,
  ListShardsCommand,
  ListStreamsCommand,
  PutRecordCommand,
  PutRecordsCommand,
  waitUntilStreamExists,
} = require('@aws-sdk/client-kinesis')
const { NodeHttpHandler } = require('@smithy/node-http-handler')

const [ENDPOINT, PROTOCOL] = process.argv.slice(2)
const StreamName = `js-sdk-${crypto.randomBytes(4).toString('hex')}`
const client = new KinesisClient({
  endpoint: ENDPOINT,
  region: 'us-east-1',
  ...(PROTOCOL === 'http1' && { requestHandler: new NodeHttpHandler() }),
})
const call = (Command, input) => client.send(new Command({ StreamName, ...input }))

async function shards() {
  const found = []
  let page = await call(ListShardsCommand, { MaxResults: 1 })
  for (;;) {
    found.push(...page.Shards)
    if (!page.NextToken) return found
    page = await client.send(new ListShardsCommand({ NextToken: page.NextToken }))
  }
}

async function read(ShardId, input) {
  const { ShardIterator } = await call(GetShardIteratorCommand, { ShardId, ...input })
  const { Records } = await client.send(new GetRecordsCommand({ ShardIterator }))
  return Records
}

async function readAll() {
  const found = []
  for (const { ShardId } of await shards()) {
    found.push(...(await read(ShardId, { ShardIteratorType: 'TRIM_HORIZON' })))
  }
  return found
}

const checks = {
  async a_missing_stream_is_not_found() {
    const error = await call(DescribeStreamSummaryCommand).catch((reason) => reason)
    assert.strictEqual(error.name, 'ResourceNotFoundException')
  },

  async a_stream_becomes_active() {
    await call(CreateStreamCommand, { ShardCount: 2 })
    const options = { client, maxWaitTime: 30, minDelay: 1, maxDelay: 1 }
    const { state } = await waitUntilStreamExists(options, { StreamName })
    assert.strictEqual(state, 'SUCCESS')
    const { StreamDescription } = await call(DescribeStreamCommand)
    assert.strictEqual(StreamDescription.StreamStatus, 'ACTIVE')
    assert.strictEqual(StreamDescription.Shards.length, 2)
  },

  async a_stream_cannot_be_created_twice() {
    const error = await call(CreateStreamCommand, { ShardCount: 2 }).catch((reason) => reason)
    assert.strictEqual(error.name, 'ResourceInUseException')
  },

  async the_stream_is_listed() {
    const { StreamNames } = await client.send(new ListStreamsCommand({}))
    assert.ok(StreamNames.includes(StreamName), StreamNames.join())
  },

  async shards_are_listed_page_by_page() {
    const found = await shards()
    assert.strictEqual(found.length, 2)
    assert.strictEqual(found[0].HashKeyRange.StartingHashKey, '0')
    assert.strictEqual(found[1].HashKeyRange.EndingHashKey, String(2n ** 128n - 1n))
  },

  async one_record_comes_back() {
    const Data = Buffer.from([0, 1, 254, 255])
    const put = await call(PutRecordCommand, { PartitionKey: 'clé', Data })
    const from = { ShardIteratorType: 'AT_SEQUENCE_NUMBER' }
    from.StartingSequenceNumber = put.SequenceNumber
    const [record] = await read(put.ShardId, from)
    assert.deepStrictEqual(Buffer.from(record.Data), Data)
    assert.strictEqual(record.PartitionKey, 'clé')
    assert.strictEqual(record.SequenceNumber, put.SequenceNumber)
    assert.ok(record.ApproximateArrivalTimestamp instanceof Date)
  },

  async many_records_come_back_in_order() {
    const Records = Array.from({ length: 200 }, (_, n) => ({
      PartitionKey: `key-${n % 10}`,
      Data: Buffer.from(`many ${n}`),
    }))
    const put = await call(PutRecordsCommand, { Records })
    assert.strictEqual(put.FailedRecordCount, 0)
    assert.strictEqual(put.Records.length, 200)
    const found = (await readAll()).filter(({ Data }) => Buffer.from(Data).includes('many'))
    assert.strictEqual(found.length, 200)
    for (let key = 0; key < 10; key++) {
      const ofKey = found.filter(({ PartitionKey }) => PartitionKey === `key-${key}`)
      const numbers = ofKey.map(({ Data }) => Number(Buffer.from(Data).toString().split(' ')[1]))
      assert.deepStrictEqual(numbers, numbers.toSorted((a, b) => a - b))
      assert.strictEqual(numbers.length, 20)
    }
  },

  async requests_at_the_same_time_are_all_answered() {
    const Data = new Uint8Array(10_000)
    const puts = Array.from({ length: 20 }, (_, n) =>
      call(PutRecordCommand, { PartitionKey: `at once ${n}`, Data }),
    )
    const numbers = (await Promise.all(puts)).map(({ SequenceNumber }) => SequenceNumber)
    assert.strictEqual(new Set(numbers).size, 20)
  },

  async an_explicit_hash_key_chooses_the_shard() {
    const Data = Buffer.from('explicit')
    const [first, second] = await shards()
    for (const { ShardId, HashKeyRange } of [first, second]) {
      const ExplicitHashKey = HashKeyRange.EndingHashKey
      const put = await call(PutRecordCommand, { PartitionKey: 'same', Data, ExplicitHashKey })
      assert.strictEqual(put.ShardId, ShardId)
    }
  },

  async a_deleted_stream_is_gone() {
    await call(DeleteStreamCommand)
    for (let attempt = 0; attempt < 100; attempt++) {
      const answer = await call(DescribeStreamSummaryCommand).catch((reason) => reason)
      if (answer.name === 'ResourceNotFoundException') return
      assert.strictEqual(answer.StreamDescriptionSummary?.StreamStatus, 'DELETING')
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    assert.fail('still there after 5 s')
  },
}

async function main() {
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check()
      console.log(`ok ${name}`)
    } catch (error) {
      process.exitCode = 1
      console.log(`FAILED ${name} ${error.name}: ${error.message.replaceAll('\n', ' ')}`)
    }
  }
  client.destroy()
}

main()
