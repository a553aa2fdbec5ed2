# SPDX-License-Identifier: Apache-2.0
"""mutate - messages that are nearly right: every kind of message, changed at random by a seed.

Numbers of jobs are such that no change makes them the good job's; calls and attempts may well be:
a worker that sends what another one has to send must be fenced off.
"""

import struct

import msgpack

from shoal_wire import BY_NAME, SPECS, encode, header

FAR = 0xEEEEEEEE  # no job, however its bits are changed one by one
CALL = (1 << 24) + 5  # of the first job, the good one

SAMPLES = {
    "HELLO": dict(role="client", id="sample"),
    "ERROR": dict(code=12, reason="a test"),
    "HEARTBEAT": dict(progress=[[CALL, 1, 7]]),
    "BYE": dict(reason="a test"),
    "WINDOW": dict(calls=3),
    "RESULT": dict(seq=1, call=CALL, attempt=1, outcome=0, batches=2, records=3),
    "BATCH": dict(call=CALL, attempt=1, seq=0, records=1),
    "SUBMIT": dict(request=1, id="hostile"),
    "ASK": dict(request=1, what="head"),
    "WATCH": dict(request=1, job=FAR),
    "STOP": dict(request=1, job=FAR, reason="a test"),
    "OUTPUT": {"request": 1, "job": FAR, "from": 1, "credit": 65536},
    "TAKEN": dict(job=FAR, commit=1, bytes=10),
}


def sample_of(spec):
    """Fields for a message that SAMPLES does not name."""
    kinds = {"UINT": 1, "FLAG": True, "TEXT": "hostile", "ANY": [1]}
    fields = {field.name: kinds[field.kind] for field in spec.fields.values()}
    if "job" in fields:
        fields["job"] = FAR
    return fields


for missing in SPECS:
    if missing.senders & {"WORKER", "CLIENT"}:
        SAMPLES.setdefault(missing.name, sample_of(missing))

NAMES = sorted(SAMPLES)
SPEC = {"name": "hostile", "class": "nobody has this", "args": {}, "collect": True}
VALUES = (None, True, -1, 0, 1 << 63, (1 << 64) - 1, 1.5, "", "x" * 300, b"\0" * 40, [], {},
          [[[[[]]]]], {"a": {"b": {}}}, list(range(100)))
HEADS = (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc1",
         b"\xc9\xff\xff\xff\xff\x01", b"\x91" * 100, b"\x81\xa1a" * 70)


def payload_of(name, rng):
    if not BY_NAME[name].has_payload:
        return None
    return msgpack.packb(SPEC) if name == "SUBMIT" else rng.randbytes(rng.randrange(200))


def hello(role, number):
    """A HELLO that is right: what follows is read by that role's rules."""
    if role == "worker":
        return encode("HELLO", role="worker", id="hostile %d" % number, slots=1, window=1,
                      classes=["hostile"], incarnation=1)
    return encode("HELLO", role="client", id="hostile %d" % number)


def flip(data, rng):
    if not data:
        return data
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def change_bits(frames, rng):
    n = rng.randrange(len(frames))
    frames[n] = flip(frames[n], rng)


def change_length(frames, rng):
    n = rng.randrange(len(frames))
    frames[n] = frames[n][:rng.randrange(len(frames[n]) + 1)] if rng.random() < 0.7 else \
        frames[n] + rng.randbytes(rng.choice((1, 30, 3000)))


def change_frames(frames, rng):
    how = rng.randrange(3)
    if how == 0 and len(frames) > 1:
        del frames[rng.randrange(len(frames))]
    elif how == 1:
        frames.insert(rng.randrange(len(frames) + 1), rng.randbytes(rng.randrange(20)))
    else:
        rng.shuffle(frames)


def change_value(frames, rng):
    """A field of another kind, a key too many, a map that claims to be endless."""
    try:
        body = msgpack.unpackb(frames[1], raw=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException):
        body = None  # another change came first
    if not isinstance(body, dict):
        return
    how = rng.randrange(4)
    if how == 0 and body:
        body[rng.choice(list(body))] = rng.choice(VALUES)
    elif how == 1:
        body.update({"key%d" % n: n for n in range(rng.choice((1, 64, 65, 500)))})
    elif how == 2 and body:
        del body[rng.choice(list(body))]
    else:
        frames[1] = rng.choice(HEADS) + frames[1]
        return
    frames[1] = msgpack.packb(body)


def change_number(frames, rng):
    frames[0] = header(rng.choice((0, 7, 255, 65535, rng.choice(SPECS).number)),
                       rng.choice((1, 1, 1, 0, 2)))


CHANGES = (change_bits, change_bits, change_length, change_frames, change_value, change_value,
           change_number)


def message(rng):
    """The frames of one message, right but for one change or two."""
    name = rng.choice(NAMES)
    frames = encode(name, payload_of(name, rng), **SAMPLES[name])
    for _ in range(rng.choice((1, 1, 1, 2))):
        if len(frames) > 1:
            rng.choice(CHANGES)(frames, rng)
    return frames or [b""]


def garbage(rng):
    """Bytes below the level of messages: ZMTP frames that lie about themselves."""
    return rng.choice((rng.randbytes(100), b"GET / HTTP/1.1\r\n\r\n" * 5,
                       struct.pack(">BQ", 2, 1 << 62), struct.pack(">BQ", 3, 1 << 20) + b"x" * 50,
                       b"\x04\xff" + b"\x05ERROR" * 20, b"\xff" * 200))
