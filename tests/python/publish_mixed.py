"""Publishes messages, good and hostile, as a program that is not ours would: pika, confirms on.

One JSON object a line, from a file or standard input:

    {"lane": "normal", "body": {...} or "text as it is", "body_b64": "...", "properties": {"message_id": "..."},
     "headers": {...}, "mandatory": true, "exchange": "...", "persistent": true}

`lane` is the routing key; all but it and a body may be absent. An object is sent as JSON. Values of properties and headers
may be bytes, times and tables with bytes for keys: see wire.from_json. Prints one JSON object: how many were confirmed,
returned (no queue), nacked, and refused (the broker closed the channel, as for another user's user_id), and the line
numbers, from 1, of all but the confirmed. Exits 0 when each had one of these ends.
"""

import argparse
import base64
import json
import sys

import pika
import pika.exceptions

import wire


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--url", required=True)
    arguments.add_argument("--prefix", default="flowlaunch", help="broker.prefix: they go to <prefix>.jobs")
    arguments.add_argument("file", nargs="?", default="-")
    arguments = arguments.parse_args()

    source = sys.stdin if arguments.file == "-" else open(arguments.file, encoding="utf-8")
    connection = wire.connect(arguments.url)
    channel = None
    ends = {"confirmed": 0, "returned": [], "nacked": [], "refused": []}
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        message = json.loads(line)
        if channel is None or channel.is_closed:
            channel = connection.channel()
            channel.confirm_delivery()
        try:
            publish(channel, arguments.prefix, message)
            ends["confirmed"] += 1
        except pika.exceptions.UnroutableError:
            ends["returned"].append(number)
        except pika.exceptions.NackError:
            ends["nacked"].append(number)
        except pika.exceptions.ChannelClosedByBroker as error:
            ends["refused"].append({"line": number, "code": error.reply_code, "text": error.reply_text})
    connection.close()
    print(json.dumps(ends))


def publish(channel, prefix, message):
    properties = wire.from_json(message.get("properties", {}))
    if "headers" in message:
        properties["headers"] = wire.from_json(message["headers"])
    if message.get("persistent", True):
        properties.setdefault("delivery_mode", 2)
    channel.basic_publish(
        exchange=message.get("exchange", f"{prefix}.jobs"),
        routing_key=message["lane"],
        body=body(message),
        properties=pika.BasicProperties(**properties),
        mandatory=message.get("mandatory", True),
    )


def body(message):
    if "body_b64" in message:
        return base64.b64decode(message["body_b64"])
    if isinstance(message["body"], str):
        return message["body"].encode()
    return json.dumps(message["body"]).encode()


if __name__ == "__main__":
    main()
