"""Publishes hostile messages with good neighbours between them, as a program that is not ours might: pika, confirms on.

Prints one JSON object a message: what it was, what has to become of it, and the body as drain.py would print it:

    {"id", "kind", "fate": "launched" | "malformed" | "poison", "flow", "inputs" (its text, of one to be launched),
     "says" (what the dead letter's error has to hold), "body"}

The fates are those of the job format: nothing here knows how a worker comes to them.
"""

import argparse
import json
import random

import pika

import wire

GOOD, FLAKY = "launched", "3f1c2b7a-1111-4000-8000-%012x"
FLOW = "3f1c2b7a-0000-4000-8000-000000000001"
NOT_UTF8 = b"\xff\xfe\xc3("


def job(n, **members):
    return {"flowId": FLOW, "id": f"job-{n}", "name": f"job-{n}", "inputs": {"n": n}, **members}


def text(n, members):
    """A good job with `members`, JSON text, at its end."""
    return json.dumps(job(n))[:-1] + "," + members + "}"


def inputs(n, value):
    """A good job with these inputs, as text."""
    return f'{{"flowId":"{FLOW}","name":"job-{n}","inputs":{value}}}'


def without(n, *names, **members):
    return {name: value for name, value in job(n, **members).items() if name not in names}


# Bodies that are no jobs: (kind, body, what the dead letter must say).
BAD_BODIES = [
    ("random bytes", lambda n, r: r.randbytes(r.randrange(1, 400)), ["byte "]),
    ("random text", lambda n, r: "".join(map(chr, r.choices(range(32, 0xD7FF), k=50))), ["byte "]),
    ("empty", lambda n, r: b"", ["empty"]),
    ("arrays, 20,000 deep", lambda n, r: "[" * 20_000, ["array", "byte 0"]),
    ("objects, 20,000 deep, cut", lambda n, r: inputs(n, '{"a":' * 20_000), ["byte "]),
    ("an unknown field, 20,000 deep", lambda n, r: text(n, '"x":' + "[" * 20_000 + "]" * 20_000), ["x: ", "byte "]),
    ("600 kB", lambda n, r: inputs(n, '{"a":"' + "x" * 600_000 + '"}'), ["bytes", "512000"]),
    ("flowId is a number", lambda n, r: job(n, flowId=7), ["flowId: ", "byte "]),
    ("flowId is no UUID", lambda n, r: job(n, flowId="7"), ["flowId: ", "UUID", "byte "]),
    ("no flowId", lambda n, r: without(n, "flowId"), ["flowId: ", "required"]),
    ("id is an object", lambda n, r: job(n, id={}), ["id: ", "byte "]),
    ("id of 201 bytes", lambda n, r: job(n, id="x" * 201), ["id: ", "200 bytes", "byte "]),
    ("half a surrogate pair in the id", lambda n, r: text(n, "").replace(f'"id": "job-{n}"', '"id": "\\ud800"')[:-2] + "}", ["id: ", "byte "]),
    ("inputs are a string", lambda n, r: job(n, inputs="a=1"), ["inputs: ", "object", "byte "]),
    ("inputs are an array", lambda n, r: job(n, inputs=[1]), ["inputs: ", "object", "byte "]),
    ("inputs are null", lambda n, r: job(n, inputs=None), ["inputs: ", "byte "]),
    ("maxAttempts is a string", lambda n, r: job(n, maxAttempts="3"), ["maxAttempts: ", "byte "]),
    ("maxAttempts is huge", lambda n, r: text(n, '"maxAttempts":1' + "0" * 400), ["maxAttempts: ", "byte "]),
    ("maxAttempts is 1e999", lambda n, r: text(n, '"maxAttempts":1e999'), ["maxAttempts: ", "byte "]),
    ("maxAttempts is -1", lambda n, r: job(n, maxAttempts=-1), ["maxAttempts: ", "byte "]),
    ("track is a number", lambda n, r: job(n, track=1), ["track: ", "byte "]),
    ("campaign has a dot", lambda n, r: job(n, campaign="a.b"), ["campaign: ", "byte "]),
    ("notBefore is a number", lambda n, r: job(n, notBefore=5), ["notBefore: ", "byte "]),
    ("expiresAt is no time", lambda n, r: job(n, expiresAt="tomorrow"), ["expiresAt: ", "byte "]),
    ("onUnknown is neither", lambda n, r: job(n, onUnknown="ask"), ["onUnknown: ", "byte "]),
    ("flowId twice", lambda n, r: text(n, f'"flowId":"{FLOW}"'), ["flowId: ", "twice", "byte "]),
    ("inputs twice", lambda n, r: text(n, '"inputs":{}'), ["inputs: ", "twice", "byte "]),
    ("inputData", lambda n, r: without(n, "inputs", inputData={"n": n}), ["inputData: ", "`inputs`", "byte "]),
    ("an unknown field", lambda n, r: job(n, urgency=9), ["urgency: ", "byte "]),
    ("bad UTF-8 in an input", lambda n, r: inputs(n, '{"a":"@"}').encode().replace(b"@", NOT_UTF8), ["UTF-8", "byte "]),
    ("UTF-16", lambda n, r: json.dumps(job(n)).encode("utf-16"), ["UTF-8", "byte 0"]),
    ("a byte-order mark", lambda n, r: "\ufeff" + json.dumps(job(n)), ["byte-order mark", "byte 0"]),
    ("NaN", lambda n, r: inputs(n, '{"a":NaN}'), ["byte "]),
    ("something behind the job", lambda n, r: json.dumps(job(n)) + "{}", ["byte "]),
]

# Good jobs of an uncommon kind: the text of their inputs has to arrive as it is.
ODD_INPUTS = [
    ("inputs, 5,000 deep", '{"a":' * 5_000 + "1" + "}" * 5_000),
    ("huge numbers", '{"a":1' + "0" * 400 + ',"b":1e999,"c":-0.0,"d":1.10,"e":18446744073709551616}'),
    ("a key twice within the inputs", '{"a":1,"a":2}'),
    ("half a surrogate pair", '{"a":"\\ud800"}'),
    ("white space", '{ "a" :\n\t1 }'),
    ("500 kB", '{"a":"' + "x" * 500_000 + '"}'),
]

# Properties that a good job must survive: (kind, properties, headers).
ODD_PROPERTIES = [
    ("user_id", {"user_id": "guest"}, {}),
    ("expiration", {"expiration": "600000"}, {}),
    ("CC to nowhere", {}, {"CC": ["nowhere"], "BCC": ["elsewhere"]}),
    ("200 kB of headers", {}, {f"h{i}": "x" * 1000 for i in range(200)}),
    ("counters of ours as text", {}, {"x-flowlaunch-attempts": "three", "x-flowlaunch-unknowns": [], "x-flowlaunch-throttled": True}),
    ("counters of ours below zero", {}, {"x-flowlaunch-attempts": -1, "x-flowlaunch-unknowns": -(2**62), "x-flowlaunch-due": "soon"}),
    ("times of ours beyond time", {}, {"x-flowlaunch-due": 2**63 - 1, "x-flowlaunch-first-seen": -(2**63)}),
    ("a dead letter's headers", {}, {"x-flowlaunch-reason": {"a": 1}, "x-flowlaunch-error": 7, "x-flowlaunch-campaign": NOT_UTF8, "x-flowlaunch-replays": {}}),
    ("the broker's own headers", {}, {"x-death": "often", "x-delivery-count": 100, "x-first-death-queue": 5, "x-delay": 99999999}),
    ("x-death as if it had", {}, {"x-death": [{"count": 2**40, "queue": "q", "reason": "expired", "exchange": "e", "routing-keys": ["k"]}]}),
    ("every type of value", {}, {"a": [1, {"b": [None, True, 2**40]}], "c": 1.5, "d": None, "e": NOT_UTF8}),
    ("a timestamp beyond time", {"priority": 255, "content_encoding": "gzip", "reply_to": "r" * 255, "type": "", "app_id": "\U0001f4de"}, {}),
    ("not persistent", {"delivery_mode": 1}, {}),
]

# What many client libraries cannot even read.
UNREADABLE = [
    ("message_id is not UTF-8", {"message_id": NOT_UTF8}, {}),
    ("a header's key is not UTF-8", {}, {NOT_UTF8: "v"}),
    ("correlation_id is not UTF-8", {"correlation_id": NOT_UTF8}, {}),
]


def message(n, kind, fate, body, properties=None, headers=None, says=(), flow=FLOW):
    if isinstance(body, dict):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    return {"id": f"job-{n}", "kind": kind, "fate": fate, "body": body, "says": list(says), "flow": flow,
            "properties": properties or {}, "headers": headers or {}}


def hostile(n, r):
    which = r.randrange(10)
    if which < 6:
        kind, make, says = r.choice(BAD_BODIES)
        return message(n, kind, "malformed", make(n, r), headers={"n": n}, says=says)
    if which == 6:
        kind, value = r.choice(ODD_INPUTS)
        return message(n, kind, GOOD, inputs(n, value), {"message_id": f"job-{n}"}) | {"inputs": value}
    if which == 7 and r.random() < 0.3:
        flow, other = r.choice([("message_id of another job", "job-x"), ("version 2", None)])
        headers = {"n": n} if other else {"n": n, "x-flowlaunch-version": 2}
        says = ["id: ", "message_id", "byte "] if other else ["x-flowlaunch-version"]
        return message(n, flow, "malformed", job(n), {"message_id": other} if other else {}, headers, says)
    # A flow of its own: the test can make each of these take its way through the ladder once.
    kind, properties, headers = r.choice(ODD_PROPERTIES)
    flow = FLAKY % n
    return message(n, kind, GOOD, job(n, flowId=flow), properties, headers, flow=flow) | {"inputs": json.dumps({"n": n})}


def good(n):
    return message(n, "a good neighbour", GOOD, job(n)) | {"inputs": json.dumps({"n": n})}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--url", required=True)
    arguments.add_argument("--prefix", required=True)
    arguments.add_argument("--hostile", type=int, required=True)
    arguments.add_argument("--good", type=int, required=True)
    arguments.add_argument("--unreadable", type=int, required=True, help="so many of the hostile ones")
    arguments.add_argument("--seed", type=int, default=1)
    arguments = arguments.parse_args()

    r = random.Random(arguments.seed)
    makers = (
        [lambda n: hostile(n, r)] * (arguments.hostile - arguments.unreadable)
        + [good] * arguments.good
        + [
            lambda n, u=UNREADABLE[i % len(UNREADABLE)]: message(n, u[0], "poison", job(n), u[1], u[2])
            for i in range(arguments.unreadable)
        ]
    )
    r.shuffle(makers)
    connection = wire.connect(arguments.url)
    channel = connection.channel()
    channel.confirm_delivery()
    for n, make in enumerate(makers):
        made = make(n)
        properties = {"delivery_mode": 2, **made.pop("properties")}
        headers = made.pop("headers")
        channel.basic_publish(
            exchange=f"{arguments.prefix}.jobs",
            routing_key="normal" if n % 2 else "bulk",
            body=made["body"],
            properties=pika.BasicProperties(headers=headers or None, **properties),
            mandatory=True,
        )
        print(json.dumps(wire.to_json(made)))
    connection.close()


if __name__ == "__main__":
    main()
