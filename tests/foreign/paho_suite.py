"""paho-mqtt against a broker: paho_suite.py HOST PORT.

Prints `ok NAME` or `FAILED NAME reason` for each check and exits 1 if one failed.
"""

import queue
import select
import sys
import time
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

LIMIT = 10
# How long a check waits for something that must not come.
QUIET = 0.5
VERSIONS = {"3.1.1": mqtt.MQTTv311, "5.0": mqtt.MQTTv5}


class Client:
    """A connected client that collects what happens to it."""

    def __init__(self, broker, name=None, keep_alive=60, will=None, background=True):
        host, port, self.version = broker
        self.name = name or f"paho-{uuid.uuid4().hex[:12]}"
        self.messages = queue.Queue()
        self.ends = queue.Queue()
        self.connected = queue.Queue()
        self.subscribed = queue.Queue()
        self.unsubscribed = queue.Queue()
        options = {} if self.version == mqtt.MQTTv5 else {"clean_session": True}
        self.mqtt = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            self.name,
            protocol=self.version,
            reconnect_on_failure=False,
            **options,
        )
        self.mqtt.on_connect = lambda _c, _u, _f, reason, _p: self.connected.put(reason)
        self.mqtt.on_message = lambda _c, _u, message: self.messages.put(message)
        self.mqtt.on_disconnect = lambda _c, _u, _f, reason, _p: self.ends.put(reason)
        self.mqtt.on_subscribe = lambda _c, _u, _i, codes, _p: self.subscribed.put(codes)
        self.mqtt.on_unsubscribe = lambda _c, _u, _i, codes, _p: self.unsubscribed.put(codes)
        if will:
            self.mqtt.will_set(**will)
        self.mqtt.connect(host, port, keep_alive)
        if background:
            self.mqtt.loop_start()
        else:
            self.loop_until_connected()
        reason = self.connected.get(timeout=LIMIT)
        assert not reason.is_failure, f"refused: {reason}"

    def loop_until_connected(self):
        deadline = time.monotonic() + LIMIT
        while self.connected.empty() and time.monotonic() < deadline:
            self.mqtt.loop(timeout=0.1)

    def subscribe(self, topic, qos):
        self.mqtt.subscribe(topic, qos)
        (code,) = self.subscribed.get(timeout=LIMIT)
        assert not code.is_failure, f"SUBACK {code}"
        assert code.value == qos, f"granted {code} for {qos}"

    def unsubscribe(self, topic):
        self.mqtt.unsubscribe(topic)
        self.unsubscribed.get(timeout=LIMIT)

    def publish(self, topic, payload, qos, retain=False, properties=None):
        sent = self.mqtt.publish(topic, payload, qos, retain, properties)
        sent.wait_for_publish(LIMIT)
        assert sent.is_published(), f"QoS {qos} not acknowledged"

    def receive(self):
        return self.messages.get(timeout=LIMIT)

    def receives_nothing(self):
        try:
            message = self.messages.get(timeout=QUIET)
        except queue.Empty:
            return
        raise AssertionError(f"unexpected message on {message.topic}")

    def break_off(self):
        """Closes the socket without DISCONNECT."""
        self.mqtt.loop_stop()
        self.mqtt.socket().close()

    def close(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


def topic():
    return f"paho/{uuid.uuid4().hex[:12]}"


def round_trip(broker, qos):
    where = topic()
    subscriber, publisher = Client(broker), Client(broker)
    subscriber.subscribe(where, qos)
    payload = bytes(range(256))
    publisher.publish(where, payload, qos)
    message = subscriber.receive()
    assert message.topic == where, message.topic
    assert message.payload == payload, message.payload
    assert message.qos == qos, f"delivered with QoS {message.qos}"
    assert not message.retain, "retain flag on a live message"
    subscriber.receives_nothing()
    subscriber.close()
    publisher.close()


def qos0_round_trip(broker):
    round_trip(broker, 0)


def qos1_round_trip(broker):
    round_trip(broker, 1)


def qos2_round_trip(broker):
    round_trip(broker, 2)


def lower_qos_of_the_two_counts(broker):
    where = topic()
    client = Client(broker)
    client.subscribe(where, 1)
    for sent, received in ((0, 0), (1, 1), (2, 1)):
        client.publish(where, b"x", sent)
        message = client.receive()
        assert message.qos == received, f"{sent} arrived as {message.qos}"
    client.close()


def order_is_kept_with_many_in_flight(broker):
    where = topic()
    subscriber, publisher = Client(broker), Client(broker)
    subscriber.subscribe(where, 1)
    sent = [publisher.mqtt.publish(where, str(n), 1) for n in range(500)]
    for one in sent:
        one.wait_for_publish(LIMIT)
        assert one.is_published(), "not acknowledged"
    numbers = [int(subscriber.receive().payload) for _ in sent]
    assert numbers == list(range(500)), "out of order"
    subscriber.close()
    publisher.close()


def payloads_from_empty_to_large(broker):
    where = topic()
    client = Client(broker)
    client.subscribe(where, 1)
    for size in (0, 1, 127, 128, 16_383, 16_384, 120_000):
        client.publish(where, b"z" * size, 1)
        assert len(client.receive().payload) == size, size
    client.close()


def wildcards_match(broker):
    where = topic()
    client = Client(broker)
    client.subscribe(f"{where}/+/end", 1)
    client.publish(f"{where}/a/b/end", b"no", 1)
    client.publish(f"{where}/a/end", b"plus", 1)
    assert client.receive().payload == b"plus"
    client.unsubscribe(f"{where}/+/end")
    client.subscribe(f"{where}/#", 1)
    client.publish(where, b"parent", 1)
    client.publish(f"{where}/a/b/c", b"below", 1)
    assert client.receive().payload == b"parent"
    assert client.receive().payload == b"below"
    client.close()


def unsubscribe_ends_delivery(broker):
    where = topic()
    client = Client(broker)
    client.subscribe(where, 1)
    client.publish(where, b"1", 1)
    client.receive()
    client.unsubscribe(where)
    client.publish(where, b"2", 1)
    client.receives_nothing()
    client.close()


def retained_set_get_replace_clear(broker):
    where = topic()
    publisher = Client(broker)
    for payload in (b"first", b"second"):
        publisher.publish(where, payload, 1, retain=True)
    late = Client(broker)
    late.subscribe(where, 1)
    message = late.receive()
    assert message.payload == b"second", message.payload
    assert message.retain, "no retain flag on a stored message"
    publisher.publish(where, b"third", 1, retain=True)
    message = late.receive()
    assert message.payload == b"third" and not message.retain, "retain flag on a live message"
    publisher.publish(where, b"", 1, retain=True)
    assert late.receive().payload == b""
    later = Client(broker)
    later.subscribe(where, 1)
    later.receives_nothing()
    for client in (publisher, late, later):
        client.close()


def will_is_published_when_the_socket_breaks(broker):
    where = topic()
    watcher = Client(broker)
    watcher.subscribe(where, 1)
    dying = Client(broker, will={"topic": where, "payload": b"gone", "qos": 1})
    dying.break_off()
    message = watcher.receive()
    assert message.payload == b"gone", message.payload
    watcher.close()


def will_is_not_published_after_disconnect(broker):
    where = topic()
    watcher = Client(broker)
    watcher.subscribe(where, 1)
    leaving = Client(broker, will={"topic": where, "payload": b"gone", "qos": 1})
    leaving.close()
    watcher.receives_nothing()
    watcher.close()


def takeover_ends_the_older_connection(broker):
    older = Client(broker)
    newer = Client(broker, name=older.name)
    reason = older.ends.get(timeout=LIMIT)
    assert reason.is_failure, reason
    if broker[2] == mqtt.MQTTv5:
        assert reason.getName() == "Session taken over", reason
    newer.publish(topic(), b"alive", 1)
    newer.close()
    older.mqtt.loop_stop()


def keep_alive_holds_an_idle_connection(broker):
    client = Client(broker, keep_alive=1)
    pings = queue.Queue()
    client.mqtt.on_log = lambda _c, _u, _l, line: "PINGRESP" in line and pings.put(line)
    for _ in range(3):
        pings.get(timeout=LIMIT)
    assert client.ends.empty(), "closed although it sent PINGREQ"
    client.publish(topic(), b"alive", 1)
    client.close()


def keep_alive_ends_a_silent_connection(broker):
    client = Client(broker, keep_alive=1, background=False)
    started = time.monotonic()
    readable, _, _ = select.select([client.mqtt.socket()], [], [], LIMIT)
    took = time.monotonic() - started
    assert readable, "still open"
    assert took >= 1.2, f"closed after {took:.1f} s, before one and a half keep alives"
    while client.ends.empty() and time.monotonic() < started + LIMIT:
        client.mqtt.loop(timeout=0.1)
    assert not client.ends.empty(), "data, but no end"


def keep_alive_zero_never_ends(broker):
    client = Client(broker, keep_alive=0, background=False)
    readable, _, _ = select.select([client.mqtt.socket()], [], [], 3)
    assert not readable, "the broker sent or closed something"
    client.mqtt.loop_start()
    client.publish(topic(), b"alive", 1)
    client.close()


def properties_travel(broker):
    """5.0 only: what a publisher says about a message reaches the subscriber unchanged."""
    where = topic()
    client = Client(broker)
    client.subscribe(where, 1)
    sent = Properties(PacketTypes.PUBLISH)
    sent.PayloadFormatIndicator = 1
    sent.ContentType = "application/json"
    sent.ResponseTopic = "answers/here"
    sent.CorrelationData = b"\x00\x01"
    sent.MessageExpiryInterval = 600
    sent.UserProperty = [("a", "1"), ("a", "2"), ("b", "")]
    client.publish(where, b"{}", 1, properties=sent)
    got = client.receive().properties
    for name in ("PayloadFormatIndicator", "ContentType", "ResponseTopic", "CorrelationData"):
        assert getattr(got, name) == getattr(sent, name), name
    assert got.UserProperty == sent.UserProperty, got.UserProperty
    assert 590 <= got.MessageExpiryInterval <= 600, got.MessageExpiryInterval
    client.close()


def subscribe_options_count(broker):
    """5.0 only: No Local, Retain As Published and Retain Handling."""
    where = topic()
    client = Client(broker)
    client.publish(where, b"kept", 1, retain=True)
    options = SubscribeOptions(qos=1, noLocal=True, retainHandling=2)
    client.mqtt.subscribe(where, options=options)
    client.subscribed.get(timeout=LIMIT)
    client.receives_nothing()
    client.publish(where, b"own", 1)
    client.receives_nothing()
    other = Client(broker)
    options = SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=2)
    other.mqtt.subscribe(where, options=options)
    other.subscribed.get(timeout=LIMIT)
    client.publish(where, b"", 1, retain=True)
    message = other.receive()
    assert message.retain, "Retain As Published was not followed"
    client.close()
    other.close()


BOTH = (
    qos0_round_trip,
    qos1_round_trip,
    qos2_round_trip,
    lower_qos_of_the_two_counts,
    order_is_kept_with_many_in_flight,
    payloads_from_empty_to_large,
    wildcards_match,
    unsubscribe_ends_delivery,
    retained_set_get_replace_clear,
    will_is_published_when_the_socket_breaks,
    will_is_not_published_after_disconnect,
    takeover_ends_the_older_connection,
    keep_alive_holds_an_idle_connection,
    keep_alive_ends_a_silent_connection,
    keep_alive_zero_never_ends,
)
ONLY_5 = (properties_travel, subscribe_options_count)


def main(host, port):
    failed = False
    for label, version in VERSIONS.items():
        checks = BOTH + (ONLY_5 if version == mqtt.MQTTv5 else ())
        for check in checks:
            name = f"{label} {check.__name__}"
            try:
                check((host, int(port), version))
                print(f"ok {name}", flush=True)
            except Exception as error:  # every failure is reported, whatever it is
                failed = True
                print(f"FAILED {name} {type(error).__name__}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
