"""boto3 with and without the right keys: boto3_iot_keys.py ENDPOINT GOOD_ID GOOD_SECRET READER_ID READER_SECRET.

Prints `ok NAME` or `FAILED NAME reason` for each check and exits 1 if one failed.
"""

import datetime
import sys
import urllib.error
import urllib.request

from boto3_iot import connect, is_refused, payload
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NAME = "/topics/a%2Fb%20%C3%A9%25?qos=1&contentType=a%2Fb%20c%2B%C3%A9"


def clients(endpoint, key, secret):
    keys = {"aws_access_key_id": key, "aws_secret_access_key": secret}
    return connect("iot", endpoint, **keys), connect("iot-data", endpoint, **keys)


def send(request):
    """Status and error name of a request that was signed by hand."""
    prepared = request.prepare()
    method, url, headers, body = prepared.method, prepared.url, prepared.headers, prepared.body
    body = body.encode() if isinstance(body, str) else body
    plain = urllib.request.Request(url, data=body, headers=dict(headers), method=method)
    try:
        with urllib.request.urlopen(plain, timeout=20) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, f"{error.headers['x-amzn-errortype']}: {error.read().decode()}"


class Shifted:
    """Signs as if the clock showed another time."""

    def __init__(self, seconds):
        self.shift = datetime.timedelta(seconds=seconds)

    def __enter__(self):
        self.real = auth.get_current_datetime
        auth.get_current_datetime = lambda *a, **k: self.real(*a, **k) + self.shift

    def __exit__(self, *_):
        auth.get_current_datetime = self.real


def signed(endpoint, keys, path, shift=0, service="iotdata", method="POST", body=b"{}", query=0):
    request = AWSRequest(method=method, url=endpoint + path, data=body)
    signer = auth.SigV4Auth(keys, service, "us-east-1")
    if query:
        signer = auth.SigV4QueryAuth(keys, service, "us-east-1", expires=query)
    with Shifted(shift):
        signer.add_auth(request)
    return request


def checks(endpoint, good_id, good_secret, reader_id, reader_secret):
    good, reader = Credentials(good_id, good_secret), Credentials(reader_id, reader_secret)

    def the_right_key_may_do_everything():
        iot, data = clients(endpoint, good_id, good_secret)
        iot.create_topic_rule(ruleName="signed", topicRulePayload=payload(), tags="a%2F=%2B+%C3%A9")
        assert iot.list_topic_rules(topic="dt/1 \u00e9/telemetry")["rules"]
        iot.delete_topic_rule(ruleName="signed")
        for topic in ("a/b", "\u00e9 /%/x", "~-._/!*'()"):
            data.publish(topic=topic, qos=1, payload=b"x", contentType="a b/\u00e9")

    def a_reader_may_only_look():
        iot, data = clients(endpoint, reader_id, reader_secret)
        assert iot.list_topic_rules()["rules"] == []
        create = {"ruleName": "r", "topicRulePayload": payload()}
        is_refused("UnauthorizedException", 401, iot.create_topic_rule, **create)
        is_refused("UnauthorizedException", 401, data.publish, topic="a", payload=b"x")

    def a_wrong_secret_is_refused():
        for client, call in zip(clients(endpoint, good_id, "wrong"), ("list_topic_rules", "publish")):
            arguments = {"topic": "a", "payload": b"x"} if call == "publish" else {}
            is_refused("InvalidSignatureException", 403, getattr(client, call), **arguments)

    def an_unknown_key_is_refused():
        iot, _ = clients(endpoint, "AKIDUNKNOWN", "x")
        is_refused("UnrecognizedClientException", 403, iot.list_topic_rules)

    def no_signature_is_refused():
        for path in ("/rules", "/topics/a"):
            method = "GET" if path == "/rules" else "POST"
            status, error = send(AWSRequest(method=method, url=endpoint + path))
            assert status == 403 and error.startswith("MissingAuthenticationToken"), (status, error)

    def an_old_signature_is_refused():
        assert send(signed(endpoint, good, NAME)) == (200, "")
        assert send(signed(endpoint, good, NAME, shift=-240)) == (200, "")
        assert send(signed(endpoint, good, NAME, shift=240)) == (200, "")
        status, error = send(signed(endpoint, good, NAME, shift=-330))
        assert status == 403 and "InvalidSignatureException" in error, (status, error)
        assert "Signature expired: " in error, error
        status, error = send(signed(endpoint, good, NAME, shift=330))
        assert status == 403 and "Signature not yet current: " in error, (status, error)

    def a_signature_for_another_service_is_refused():
        assert send(signed(endpoint, good, NAME, service="iotdevicegateway")) == (200, "")
        for service, path in (("iot", NAME), ("iotdata", "/rules"), ("kinesis", "/rules")):
            method = "GET" if path == "/rules" else "POST"
            answer = send(signed(endpoint, good, path, service=service, method=method, body=b""))
            assert answer[0] == 403 and "IncompleteSignatureException" in answer[1], answer

    def what_was_changed_after_signing_is_refused():
        def changed(change):
            request = signed(endpoint, good, NAME)
            change(request)
            return send(request)

        for change in (
            lambda request: setattr(request, "data", b"{} "),
            lambda request: setattr(request, "url", request.url.replace("a%2Fb", "a/b")),
            lambda request: setattr(request, "url", request.url.replace("qos=1", "qos=0")),
            lambda request: setattr(request, "url", request.url + "&retain=true"),
            lambda request: setattr(request, "method", "DELETE"),
        ):
            status, error = changed(change)
            assert status == 403 and "InvalidSignatureException" in error, (status, error)
        added = {"x-amz-mqtt5-user-properties": "W10="}
        status, error = changed(lambda request: [request.headers.add_header(*it) for it in added.items()])
        assert status == 403 and "IncompleteSignatureException" in error, (status, error)

    def a_presigned_url_holds_until_it_expires():
        assert send(signed(endpoint, good, NAME, query=60)) == (200, "")
        assert send(signed(endpoint, good, NAME, query=600, shift=-400)) == (200, "")
        status, error = send(signed(endpoint, good, NAME, query=60, shift=-90))
        assert status == 403 and "Signature expired: " in error, (status, error)
        status, error = send(signed(endpoint, Credentials(good_id, "x"), NAME, query=60))
        assert status == 403 and "InvalidSignatureException" in error, (status, error)
        status, error = send(signed(endpoint, reader, NAME, query=60))
        assert status == 401 and "UnauthorizedException" in error, (status, error)

    return (
        the_right_key_may_do_everything,
        a_reader_may_only_look,
        a_wrong_secret_is_refused,
        an_unknown_key_is_refused,
        no_signature_is_refused,
        an_old_signature_is_refused,
        a_signature_for_another_service_is_refused,
        what_was_changed_after_signing_is_refused,
        a_presigned_url_holds_until_it_expires,
    )


def main(*arguments):
    failed = False
    for check in checks(*arguments):
        try:
            check()
            print(f"ok {check.__name__}", flush=True)
        except Exception as error:  # every failure is reported, whatever it is
            failed = True
            print(f"FAILED {check.__name__} {type(error).__name__}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
