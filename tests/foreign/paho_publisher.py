"""paho-mqtt clients that publish until they are told to stop: paho_publisher.py HOST PORT.

A client of each version, with and without a session of its own. They connect again whenever the connection is lost and
leave it to paho to repeat what was not answered. Once the file `stop` exists in TMPDIR they publish nothing new, wait
for the answers that are missing and print, as lines of JSON, how many messages of each key were published and how often
a message was sent again. The payloads are those of `tests/kill/message.rs`.
"""

import collections
import json
import os
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

WINDOW = 12
BURST = 4
PAUSE = 0.06
PATIENCE = 90
KEYS = 2
STOP = os.path.join(os.environ["TMPDIR"], "stop")


def payload(key, number):
    padding = 16_000 if number % 24 == 23 else number * 37 % 200
    return f'{{"key":"{key}","number":{number},"padding":"{"x" * padding}"}}'.encode()


class Counting(mqtt.Client):
    """Counts how often each message goes out."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.sent = collections.Counter()

    def _send_publish(self, mid, topic, payload=b"", *rest, **options):
        # Of a message that is refused here, not a byte leaves.
        result = super()._send_publish(mid, topic, payload, *rest, **options)
        if result == mqtt.MQTT_ERR_SUCCESS:
            self.sent[bytes(payload)] += 1
        return result


class Publisher(threading.Thread):
    def __init__(self, broker, version, name, clean):
        super().__init__(name=name)
        self.broker = broker
        self.version = version
        self.published = 0
        self.answered = 0
        self.connected = False
        self.error = None
        options = {} if version == mqtt.MQTTv5 else {"clean_session": clean}
        self.mqtt = Counting(
            mqtt.CallbackAPIVersion.VERSION2, name, protocol=version, **options
        )
        self.options = {}
        if version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 3600
            self.options = {"clean_start": clean, "properties": properties}
        self.mqtt.max_inflight_messages_set(2 * WINDOW)
        self.mqtt.on_connect = self.on_connect
        self.mqtt.on_publish = self.on_publish

    def on_connect(self, _client, _userdata, _flags, reason, _properties):
        self.connected = not reason.is_failure

    def on_publish(self, _client, _userdata, _mid, reason, _properties):
        if reason.is_failure:
            self.error = f"refused: {reason}"
        self.answered += 1

    def run(self):
        try:
            self.work()
        except Exception as error:  # Reported by the main thread.
            self.error = repr(error)

    def work(self):
        started = False
        next_burst = 0
        last_answer, answered = time.monotonic(), 0
        while self.error is None:
            now = time.monotonic()
            if self.answered > answered or self.answered == self.published:
                last_answer, answered = now, self.answered
            if now - last_answer > PATIENCE:
                raise TimeoutError(f"{self.published - self.answered} without an answer")
            stopping = os.path.exists(STOP)
            if stopping and self.answered == self.published:
                return
            # Everything happens on this thread, so that nothing new is sent before what is repeated.
            if self.mqtt.loop(timeout=0.02) != mqtt.MQTT_ERR_SUCCESS:
                self.connected = False
                try:
                    if started:
                        self.mqtt.reconnect()
                    else:
                        self.mqtt.connect(*self.broker, 0, **self.options)
                    started = True
                except OSError:
                    time.sleep(0.01)
                continue
            if self.connected and not stopping and now >= next_burst:
                next_burst = now + PAUSE
                for _ in range(min(BURST, WINDOW - (self.published - self.answered))):
                    self.publish()

    def publish(self):
        key, number = f"{self.name}-{self.published % KEYS}", self.published // KEYS
        self.mqtt.publish(f"dt/{self.name}", payload(key, number), 1 + number % 2)
        self.published += 1

    def report(self):
        for place in range(KEYS):
            count = (self.published + KEYS - 1 - place) // KEYS
            print(json.dumps({"key": f"{self.name}-{place}", "published": count}))
        for message, sent in self.mqtt.sent.items():
            if sent > 1:
                message = json.loads(message)
                repeats = {"number": message["number"], "repeats": sent - 1}
                print(json.dumps({"key": message["key"], **repeats}))


def main(host, port):
    publishers = [
        Publisher((host, int(port)), version, f"paho-{name}-{clean}", clean)
        for name, version in (("311", mqtt.MQTTv311), ("5", mqtt.MQTTv5))
        for clean in (False, True)
    ]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
    for publisher in publishers:
        if publisher.error:
            sys.exit(f"{publisher.name}: {publisher.error}")
        publisher.report()


if __name__ == "__main__":
    main(*sys.argv[1:])
