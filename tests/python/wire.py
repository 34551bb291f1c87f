"""Makes pika send and take what it would rather not: bytes that are not UTF-8 in short strings, and header frames of any
size. Nothing here is ours but these patches: the protocol is pika's."""

import base64
import datetime
import struct

import pika
import pika.data
import pika.exceptions
import pika.spec

# A header frame cannot be cut, so 200 kB of headers need a larger one. A node allows it by `frame_max` in its
# rabbitmq.conf; the smaller of the two sides' numbers is the one that holds.
FRAME_MAX = 1024 * 1024


def _encode_short_string(pieces, value):
    encoded = value if isinstance(value, bytes) else value.encode()
    if len(encoded) > 255:
        raise pika.exceptions.ShortStringTooLong(encoded)
    pieces.append(struct.pack("B", len(encoded)))
    pieces.append(encoded)
    return 1 + len(encoded)


def _decode_short_string(encoded, offset):
    length = struct.unpack_from("B", encoded, offset)[0]
    offset += 1
    value = bytes(encoded[offset : offset + length])
    try:
        value = value.decode("utf-8")
    except UnicodeDecodeError:
        pass  # As bytes, then.
    return value, offset + length


def patch():
    """Has to run before the first connection is made."""
    plain_value = pika.data.encode_value

    def encode_value(pieces, value):
        if isinstance(value, float):  # pika knows none.
            pieces.append(struct.pack(">cd", b"d", value))
            return 9
        return plain_value(pieces, value)

    pika.data.encode_value = encode_value
    pika.data.encode_short_string = _encode_short_string
    pika.data.decode_short_string = _decode_short_string
    pika.spec.FRAME_MAX_SIZE = FRAME_MAX


def connect(url):
    patch()
    parameters = pika.URLParameters(url)
    parameters.heartbeat = 60
    parameters.frame_max = FRAME_MAX
    return pika.BlockingConnection(parameters)


def from_json(value):
    """JSON's values, and what JSON lacks: {"$b64": "…"} is bytes, {"$timestamp": seconds} a time, and {"$items": [[key,
    value], …]} a table whose keys may be bytes."""
    if isinstance(value, dict):
        if "$b64" in value:
            return base64.b64decode(value["$b64"])
        if "$timestamp" in value:
            return datetime.datetime.fromtimestamp(value["$timestamp"], datetime.timezone.utc)
        if "$items" in value:
            return {from_json(key): from_json(item) for key, item in value["$items"]}
        return {key: from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_json(item) for item in value]
    return value


def to_json(value):
    """The other way round, for messages that were taken out of a queue."""
    if isinstance(value, (bytes, bytearray)):
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            return {"$b64": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: to_json(item) for key, item in value.items()}
        return {"$items": [[to_json(key), to_json(item)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, datetime.datetime):
        return {"$timestamp": value.timestamp()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
