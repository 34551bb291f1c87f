"""Takes everything out of a queue, whatever its bytes are, and prints one JSON object a message:

    {"exchange", "routing_key", "redelivered", "body" (text, or {"$b64": "..."} when it is none), "properties", "headers"}

`--keep` looks only: the messages go back, which counts towards a delivery limit.
"""

import argparse
import json

import wire


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--url", required=True)
    arguments.add_argument("--keep", action="store_true")
    arguments.add_argument("queue")
    arguments = arguments.parse_args()

    connection = wire.connect(arguments.url)
    channel = connection.channel()
    while True:
        method, properties, body = channel.basic_get(arguments.queue, auto_ack=not arguments.keep)
        if method is None:
            break
        fields = {name: value for name, value in vars(properties).items() if value is not None}
        headers = fields.pop("headers", {})
        message = {
            "exchange": method.exchange,
            "routing_key": method.routing_key,
            "redelivered": method.redelivered,
            "body": body,
            "properties": fields,
            "headers": headers,
        }
        print(json.dumps(wire.to_json(message)))
    connection.close()


if __name__ == "__main__":
    main()
