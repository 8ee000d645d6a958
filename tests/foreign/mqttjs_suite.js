// MQTT.js against a broker: mqttjs_suite.js HOST PORT.
//
// Prints `ok NAME` or `FAILED NAME reason` for each check and exits 1 if one failed.
'use strict'

const assert = require('node:assert')
const crypto = require('node:crypto')
const { once } = require('node:events')
const mqtt = require('mqtt')

const LIMIT = 10_000
// How long a check waits for something that must not come.
const QUIET = 500
const [HOST, PORT] = process.argv.slice(2)
const VERSIONS = { '3.1.1': 4, '5.0': 5 }

const topic = () => `mqttjs/${crypto.randomBytes(6).toString('hex')}`

// A connected client with a queue of its messages.
class Client {
  static async connect(version, options = {}) {
    const client = new Client()
    client.messages = []
    client.waiting = []
    client.mqtt = mqtt.connect(`mqtt://${HOST}:${PORT}`, {
      protocolVersion: version,
      clientId: `mqttjs-${crypto.randomBytes(6).toString('hex')}`,
      clean: true,
      reconnectPeriod: 0,
      connectTimeout: LIMIT,
      ...options,
    })
    client.mqtt.on('message', (where, payload, packet) => {
      const message = { topic: where, payload, ...packet }
      const waiter = client.waiting.shift()
      if (waiter) waiter(message)
      else client.messages.push(message)
    })
    await within('CONNACK', once(client.mqtt, 'connect'))
    client.mqtt.on('error', () => {})
    return client
  }

  async subscribe(where, qos, options = {}) {
    const granted = await within('SUBACK', this.mqtt.subscribeAsync(where, { qos, ...options }))
    assert.strictEqual(granted[0].qos, qos, `granted ${granted[0].qos} for ${qos}`)
  }

  unsubscribe(where) {
    return within('UNSUBACK', this.mqtt.unsubscribeAsync(where))
  }

  publish(where, payload, qos, options = {}) {
    const sent = this.mqtt.publishAsync(where, payload, { qos, ...options })
    return within(`acknowledgement of QoS ${qos}`, sent)
  }

  receive() {
    const message = this.messages.shift()
    if (message) return Promise.resolve(message)
    return within('message', new Promise((resolve) => this.waiting.push(resolve)))
  }

  async receivesNothing() {
    const message = await Promise.race([
      new Promise((resolve) => this.waiting.push(resolve)),
      pause(QUIET).then(() => undefined),
    ])
    assert.strictEqual(message, undefined, `unexpected message on ${message?.topic}`)
    this.waiting.length = 0
  }

  // Closes the socket without DISCONNECT.
  breakOff() {
    this.mqtt.stream.destroy()
  }

  close() {
    return within('end', this.mqtt.endAsync())
  }
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}

async function within(what, promise) {
  let timer
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${LIMIT} ms`)), LIMIT)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

async function roundTrip(version, qos) {
  const where = topic()
  const subscriber = await Client.connect(version)
  const publisher = await Client.connect(version)
  await subscriber.subscribe(where, qos)
  const payload = Buffer.from(Array.from({ length: 256 }, (_, n) => n))
  await publisher.publish(where, payload, qos)
  const message = await subscriber.receive()
  assert.strictEqual(message.topic, where)
  assert.deepStrictEqual(message.payload, payload)
  assert.strictEqual(message.qos, qos)
  assert.strictEqual(message.retain, false, 'retain flag on a live message')
  await subscriber.receivesNothing()
  await subscriber.close()
  await publisher.close()
}

const both = {
  qos0_round_trip: (version) => roundTrip(version, 0),
  qos1_round_trip: (version) => roundTrip(version, 1),
  qos2_round_trip: (version) => roundTrip(version, 2),

  async order_is_kept_with_many_in_flight(version) {
    const where = topic()
    const subscriber = await Client.connect(version)
    const publisher = await Client.connect(version)
    await subscriber.subscribe(where, 1)
    const numbers = Array.from({ length: 500 }, (_, n) => n)
    await Promise.all(numbers.map((n) => publisher.publish(where, String(n), 1)))
    for (const n of numbers) {
      const message = await subscriber.receive()
      assert.strictEqual(String(message.payload), String(n), 'out of order')
    }
    await subscriber.close()
    await publisher.close()
  },

  async wildcards_match(version) {
    const where = topic()
    const client = await Client.connect(version)
    await client.subscribe(`${where}/+/end`, 1)
    await client.publish(`${where}/a/b/end`, 'no', 1)
    await client.publish(`${where}/a/end`, 'plus', 1)
    assert.strictEqual(String((await client.receive()).payload), 'plus')
    await client.unsubscribe(`${where}/+/end`)
    await client.subscribe(`${where}/#`, 1)
    await client.publish(where, 'parent', 1)
    assert.strictEqual(String((await client.receive()).payload), 'parent')
    await client.close()
  },

  async retained_set_get_replace_clear(version) {
    const where = topic()
    const publisher = await Client.connect(version)
    await publisher.publish(where, 'first', 1, { retain: true })
    await publisher.publish(where, 'second', 1, { retain: true })
    const late = await Client.connect(version)
    await late.subscribe(where, 1)
    const stored = await late.receive()
    assert.strictEqual(String(stored.payload), 'second')
    assert.strictEqual(stored.retain, true, 'no retain flag on a stored message')
    await publisher.publish(where, '', 1, { retain: true })
    assert.strictEqual((await late.receive()).payload.length, 0)
    const later = await Client.connect(version)
    await later.subscribe(where, 1)
    await later.receivesNothing()
    for (const client of [publisher, late, later]) await client.close()
  },

  async will_is_published_when_the_socket_breaks(version) {
    const where = topic()
    const watcher = await Client.connect(version)
    await watcher.subscribe(where, 1)
    const will = { topic: where, payload: Buffer.from('gone'), qos: 1, retain: false }
    const dying = await Client.connect(version, { will })
    dying.breakOff()
    assert.strictEqual(String((await watcher.receive()).payload), 'gone')
    await watcher.close()
  },

  async will_is_not_published_after_disconnect(version) {
    const where = topic()
    const watcher = await Client.connect(version)
    await watcher.subscribe(where, 1)
    const will = { topic: where, payload: Buffer.from('gone'), qos: 1, retain: false }
    const leaving = await Client.connect(version, { will })
    await leaving.close()
    await watcher.receivesNothing()
    await watcher.close()
  },

  async takeover_ends_the_older_connection(version) {
    const clientId = `mqttjs-${crypto.randomBytes(6).toString('hex')}`
    const older = await Client.connect(version, { clientId })
    const ended = once(older.mqtt, 'close')
    const said = version === 5 ? once(older.mqtt, 'disconnect') : undefined
    const newer = await Client.connect(version, { clientId })
    await within('end of the older connection', ended)
    if (said) {
      const [packet] = await within('DISCONNECT', said)
      assert.strictEqual(packet.reasonCode, 0x8e)
    }
    await newer.publish(topic(), 'alive', 1)
    await newer.close()
  },

  async keep_alive_holds_an_idle_connection(version) {
    const client = await Client.connect(version, { keepalive: 1 })
    let answers = 0
    await within(
      'third PINGRESP',
      new Promise((resolve, reject) => {
        client.mqtt.on('close', () => reject(new Error('closed although it sent PINGREQ')))
        client.mqtt.on('packetreceive', (packet) => {
          if (packet.cmd === 'pingresp' && ++answers === 3) resolve()
        })
      }),
    )
    await client.publish(topic(), 'alive', 1)
    await client.close()
  },

  async keep_alive_zero_never_ends(version) {
    const client = await Client.connect(version, { keepalive: 0 })
    const ended = once(client.mqtt, 'close').then(() => 'closed')
    assert.notStrictEqual(await Promise.race([ended, pause(3000)]), 'closed')
    await client.publish(topic(), 'alive', 1)
    await client.close()
  },
}

const only5 = {
  async properties_travel(version) {
    const where = topic()
    const client = await Client.connect(version)
    await client.subscribe(where, 1)
    const properties = {
      payloadFormatIndicator: true,
      contentType: 'application/json',
      responseTopic: 'answers/here',
      correlationData: Buffer.from([0, 1]),
      userProperties: { a: ['1', '2'], b: '' },
    }
    await client.publish(where, '{}', 1, { properties })
    const got = (await client.receive()).properties
    for (const [name, value] of Object.entries(properties)) {
      assert.deepStrictEqual(name === 'userProperties' ? { ...got[name] } : got[name], value, name)
    }
    await client.close()
  },

  async no_local_keeps_own_messages_away(version) {
    const where = topic()
    const client = await Client.connect(version)
    await client.subscribe(where, 1, { nl: true })
    await client.publish(where, 'own', 1)
    await client.receivesNothing()
    await client.close()
  },
}

async function main() {
  let failed = false
  for (const [label, version] of Object.entries(VERSIONS)) {
    const checks = { ...both, ...(version === 5 ? only5 : {}) }
    for (const [name, check] of Object.entries(checks)) {
      try {
        await check(version)
        console.log(`ok ${label} ${name}`)
      } catch (error) {
        failed = true
        console.log(`FAILED ${label} ${name} ${error.message.replaceAll('\n', ' ')}`)
      }
    }
  }
  // Clients of failed checks are still connected and would keep the process alive.
  process.exit(failed ? 1 : 0)
}

main()
