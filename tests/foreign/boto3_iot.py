"""boto3 against the API for rules and messages: boto3_iot.py ENDPOINT.

Prints `ok NAME` or `FAILED NAME reason` for each check and exits 1 if one failed.
"""

import base64
import datetime
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ACCOUNT = "000000000000"
ROLE = "arn:aws:iam::000000000000:role/rule"


def connect(service, endpoint, **more):
    config = Config(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=40)
    return boto3.client(service, endpoint_url=endpoint, config=config, **more)


def arn(name):
    return f"arn:aws:iot:us-east-1:{ACCOUNT}:rule/{name}"


def payload(sql="SELECT * FROM 'dt/+/telemetry'", **more):
    kinesis = {"streamName": "telemetry", "partitionKey": "${topic()}", "roleArn": ROLE}
    return {"sql": sql, "actions": [{"kinesis": kinesis}], "awsIotSqlVersion": "2016-03-23", **more}


def refused(code, status, call, **arguments):
    """The error that a call must end with."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        response = error.response
        got = response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]
        assert got == (code, status), (got, response)
        return response
    raise AssertionError(f"not refused: {answer}")


def is_refused(code, status, call, **arguments):
    return refused(code, status, call, **arguments)["Error"]["Message"]


def a_rule_lives_and_dies(iot, data):
    iot.create_topic_rule(
        ruleName="life",
        topicRulePayload=payload(description="first"),
        tags="env=prod&team=a%2Fb+%2B%C3%A9%25",
    )
    answer = iot.get_topic_rule(ruleName="life")
    rule = answer["rule"]
    assert answer["ruleArn"] == arn("life"), answer
    assert rule["sql"] == "SELECT * FROM 'dt/+/telemetry'", rule
    assert rule["actions"] == payload()["actions"], rule
    assert rule["description"] == "first" and rule["ruleDisabled"] is False, rule
    assert rule["awsIotSqlVersion"] == "2016-03-23" and "errorAction" not in rule, rule
    age = datetime.datetime.now(datetime.timezone.utc) - rule["createdAt"]
    assert datetime.timedelta(0) <= age < datetime.timedelta(minutes=5), age

    iot.replace_topic_rule(ruleName="life", topicRulePayload=payload("SELECT a FROM 'x/#'"))
    replaced = iot.get_topic_rule(ruleName="life")["rule"]
    assert replaced["sql"] == "SELECT a FROM 'x/#'" and "description" not in replaced, replaced
    assert replaced["createdAt"] == rule["createdAt"], replaced
    assert len(iot.list_tags_for_resource(resourceArn=arn("life"))["tags"]) == 2

    iot.disable_topic_rule(ruleName="life")
    assert iot.get_topic_rule(ruleName="life")["rule"]["ruleDisabled"] is True
    iot.enable_topic_rule(ruleName="life")
    assert iot.get_topic_rule(ruleName="life")["rule"]["ruleDisabled"] is False

    iot.delete_topic_rule(ruleName="life")
    is_refused("UnauthorizedException", 401, iot.get_topic_rule, ruleName="life")
    is_refused("ResourceNotFoundException", 404, iot.list_tags_for_resource, resourceArn=arn("life"))


def defaults_are_those_of_aws(iot, data):
    document = payload()
    del document["awsIotSqlVersion"]
    iot.create_topic_rule(ruleName="defaults", topicRulePayload=document)
    rule = iot.get_topic_rule(ruleName="defaults")["rule"]
    assert rule["awsIotSqlVersion"] == "2015-10-08" and rule["ruleDisabled"] is False, rule
    assert "description" not in rule and "errorAction" not in rule, rule
    iot.delete_topic_rule(ruleName="defaults")


def actions_that_do_not_run_are_kept_as_they_are(iot, data):
    actions = [
        {"lambda": {"functionArn": "arn:aws:lambda:us-east-1:1:function:f:1"}},
        {"dynamoDBv2": {"roleArn": ROLE, "putItem": {"tableName": "t"}}},
        {"republish": {"roleArn": ROLE, "topic": "copy/${topic()}", "qos": 1}},
        {"timestream": {"roleArn": ROLE, "databaseName": "d", "tableName": "t",
                        "dimensions": [{"name": "n", "value": "${v}"}]}},
    ]
    error_action = {"s3": {"roleArn": ROLE, "bucketName": "b", "key": "${newuuid()}"}}
    document = payload(actions=actions, errorAction=error_action)
    iot.create_topic_rule(ruleName="kept", topicRulePayload=document)
    rule = iot.get_topic_rule(ruleName="kept")["rule"]
    assert rule["actions"] == actions and rule["errorAction"] == error_action, rule
    iot.delete_topic_rule(ruleName="kept")


def lists_have_filters_and_pages(iot, data):
    filters = {"a1": "list/a", "a2": "list/+", "b1": "list/b", "c1": "list/#"}
    for name, topic in filters.items():
        disabled = name == "b1"
        document = payload(f"SELECT * FROM '{topic}'", ruleDisabled=disabled)
        iot.create_topic_rule(ruleName=name, topicRulePayload=document)

    def names(**arguments):
        return [rule["ruleName"] for rule in iot.list_topic_rules(**arguments)["rules"]]

    assert names() == ["a1", "a2", "b1", "c1"], names()
    assert names(topic="list/a") == ["a1", "a2", "c1"]
    assert names(topic="list/+") == ["a2"] or "a2" in names(topic="list/+")
    assert names(topic="list") == []
    assert names(ruleDisabled=True) == ["b1"]
    assert names(ruleDisabled=False) == ["a1", "a2", "c1"]
    first = iot.list_topic_rules()["rules"][0]
    assert first["ruleArn"] == arn("a1") and first["topicPattern"] == "list/a", first
    seen, token = [], None
    while True:
        more = {"nextToken": token} if token else {}
        page = iot.list_topic_rules(maxResults=3, **more)
        assert len(page["rules"]) <= 3
        seen += [rule["ruleName"] for rule in page["rules"]]
        token = page.get("nextToken")
        if not token:
            break
    assert seen == ["a1", "a2", "b1", "c1"], seen
    is_refused("InvalidRequestException", 400, iot.list_topic_rules, nextToken="made up")
    for name in filters:
        iot.delete_topic_rule(ruleName=name)


def tags_are_set_replaced_and_removed(iot, data):
    iot.create_topic_rule(ruleName="tagged", topicRulePayload=payload(), tags="a=1")
    resource = {"resourceArn": arn("tagged")}
    odd = {"Key": "k /+%\u00e9", "Value": "v /+%\u00e9="}
    iot.tag_resource(tags=[odd, {"Key": "a", "Value": "2"}, {"Key": "e", "Value": ""}], **resource)
    tags = {tag["Key"]: tag["Value"] for tag in iot.list_tags_for_resource(**resource)["tags"]}
    assert tags == {"a": "2", odd["Key"]: odd["Value"], "e": ""}, tags
    iot.untag_resource(tagKeys=["a", "not there", odd["Key"]], **resource)
    assert iot.list_tags_for_resource(**resource)["tags"] == [{"Key": "e", "Value": ""}]
    many = [{"Key": f"t{n}", "Value": "x"} for n in range(50)]
    is_refused("LimitExceededException", 410, iot.tag_resource, tags=many, **resource)
    for other in (arn("missing"), arn("tagged").replace("us-east-1", "eu-west-1"), "arn:x"):
        call = {"resourceArn": other, "tags": [odd]}
        is_refused("ResourceNotFoundException", 404, iot.tag_resource, **call)
    iot.delete_topic_rule(ruleName="tagged")


def errors_have_their_names(iot, data):
    create = iot.create_topic_rule
    iot.create_topic_rule(ruleName="taken", topicRulePayload=payload())

    def invalid(name="fresh", **more):
        arguments = {"ruleName": name, "topicRulePayload": payload(**more)}
        return is_refused("InvalidRequestException", 400, create, **arguments)

    def bad_sql(sql):
        arguments = {"ruleName": "fresh", "topicRulePayload": payload(sql)}
        return is_refused("SqlParseException", 400, create, **arguments)

    duplicate = {"ruleName": "taken", "topicRulePayload": payload()}
    error = refused("ResourceAlreadyExistsException", 409, create, **duplicate)
    assert error["resourceArn"] == arn("taken") and error["resourceId"] == "taken", error
    for name in ("bad-name!", "a/b", "a b", "a+b", "100%", "\u00e9", "x" * 129):
        message = invalid(name)
        assert message.startswith(f"1 validation error detected: Value '{name}' at 'ruleName'"), message
    message = bad_sql("SELECT *\nFROM dt")
    assert "line 2, column 6" in message, message
    for sql in ("", "SELECT frobnicate(a) AS b FROM 'a/b'", "SELECT * FROM 'a/#/b'", "nonsense"):
        bad_sql(sql)
    invalid(sql="SELECT get_secret('s', 'SecretString', 'r') AS s FROM 'a'")
    invalid(awsIotSqlVersion="1999-01-01")
    invalid(actions=payload()["actions"] * 11)
    invalid(actions=[{}])
    invalid(actions=[{"kinesis": {"streamName": "${", "roleArn": ROLE}}])
    loop = {"republish": {"topic": "dt/1/telemetry", "roleArn": ROLE}}
    message = invalid(actions=[loop])
    wanted = "Republish topic cannot be within topic space of rule's topic pattern 'dt/+/telemetry'"
    assert message == wanted, message
    message = invalid(description="x" * (128 * 1024))
    assert "too large" in message, message
    for call in (iot.get_topic_rule, iot.delete_topic_rule, iot.enable_topic_rule,
                 iot.disable_topic_rule):
        message = is_refused("UnauthorizedException", 401, call, ruleName="nope")
        assert message == "Access to topic rule 'nope' was denied", message
    missing = {"ruleName": "nope", "topicRulePayload": payload()}
    is_refused("UnauthorizedException", 401, iot.replace_topic_rule, **missing)
    replacement = {"ruleName": "taken", "topicRulePayload": payload("SELEKT")}
    is_refused("SqlParseException", 400, iot.replace_topic_rule, **replacement)
    assert iot.get_topic_rule(ruleName="taken")["rule"]["sql"] == payload()["sql"]
    iot.delete_topic_rule(ruleName="taken")


def the_endpoint_is_this_one(iot, data):
    host = iot.meta.endpoint_url.removeprefix("http://")
    for kind in ("iot:Data", "iot:Data-ATS"):
        assert iot.describe_endpoint(endpointType=kind)["endpointAddress"] == host
    assert iot.describe_endpoint()["endpointAddress"] == host
    call = {"endpointType": "iot:Bogus"}
    message = is_refused("InvalidRequestException", 400, iot.describe_endpoint, **call)
    assert message == "Unknown endpointType: iot:Bogus", message


def destinations_are_not_supported(iot, data):
    is_refused("InvalidRequestException", 400, iot.list_topic_rule_destinations)


def messages_are_published(iot, data):
    for topic in ("a/b", "a b/+".replace("+", "%2B"), "\u00e9/%/x", "/lead//and/trail/"):
        data.publish(topic=topic, qos=1, payload=b"{}")
        data.publish(topic=topic, qos=0)
    answer = data.publish(topic="props", qos=1, payload=b"\x00\xff", contentType="a/b; c=\u00e9",
                          responseTopic="r/t", messageExpiry=60,
                          payloadFormatIndicator="UNSPECIFIED_BYTES",
                          correlationData=base64.b64encode(b"\x00id").decode(),
                          userProperties=json.dumps([{"deviceName": "d/1"}, {"b": "2"}]))
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    for topic in ("a/+", "a/#", "#", "x" * 1025, "/".join("a" * 40), "$SYSTEM/x"):
        is_refused("InvalidRequestException", 400, data.publish, topic=topic, payload=b"x")
    is_refused("UnauthorizedException", 401, data.publish, topic="$aws/things/x", payload=b"x")
    retained = {"topic": "$aws/rules/r", "retain": True, "payload": b"x"}
    is_refused("InvalidRequestException", 400, data.publish, **retained)
    large = {"topic": "a", "payload": b"x" * (1024 * 1024 + 1)}
    is_refused("RequestEntityTooLargeException", 413, data.publish, **large)


def retained_messages_are_kept_and_listed(iot, data):
    topics = ["keep/1", "keep/\u00e9 /+%".replace("+", "plus"), "keep/3"]
    for topic in topics:
        data.publish(topic=topic, qos=1, retain=True, payload=topic.encode())
    data.publish(topic="keep/1", qos=0, retain=True, payload=b"\x00\xff",
                 userProperties=json.dumps([{"k": "v"}, {"k": "w"}]))
    found = data.get_retained_message(topic="keep/1")
    assert found["payload"] == b"\x00\xff" and found["qos"] == 0, found
    assert json.loads(found["userProperties"]) == [{"k": "v"}, {"k": "w"}], found
    age = datetime.datetime.now().timestamp() * 1000 - found["lastModifiedTime"]
    assert -1000 < age < 300_000, age
    seen, token = [], None
    while True:
        more = {"nextToken": token} if token else {}
        page = data.list_retained_messages(maxResults=2, **more)
        seen += [(item["topic"], item["payloadSize"]) for item in page["retainedTopics"]]
        token = page.get("nextToken")
        if not token:
            break
    wanted = {(topic, len(topic.encode())) for topic in topics[1:]} | {("keep/1", 2)}
    assert set(seen) == wanted and len(seen) == 3, seen
    for topic in topics:
        data.publish(topic=topic, retain=True, payload=b"")
        is_refused("ResourceNotFoundException", 404, data.get_retained_message, topic=topic)


CHECKS = (
    a_rule_lives_and_dies,
    defaults_are_those_of_aws,
    actions_that_do_not_run_are_kept_as_they_are,
    lists_have_filters_and_pages,
    tags_are_set_replaced_and_removed,
    errors_have_their_names,
    the_endpoint_is_this_one,
    destinations_are_not_supported,
    messages_are_published,
    retained_messages_are_kept_and_listed,
)


def main(endpoint):
    iot, data = connect("iot", endpoint), connect("iot-data", endpoint)
    failed = False
    for check in CHECKS:
        try:
            check(iot, data)
            print(f"ok {check.__name__}", flush=True)
        except Exception as error:  # every failure is reported, whatever it is
            failed = True
            print(f"FAILED {check.__name__} {type(error).__name__}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
