"""Frames and messages: the bytes of test/vectors/answers.json both ways, valid, damaged, and cut at every byte."""

import json
import unittest
from typing import Any, Dict, List

from usher_client.encoder import field_name
from usher_client.errors import CODES, UsherError, code_of_wire
from usher_client.frames import (
    ANSWER_BYTES_MAX, Ack, Credit, Frame, FrameDecoder, Goodbye, Hello, Jobs, Message, Ping, Pong, Preamble, Refused,
    Welcome, decode_message, encode_frame, encode_message, encode_preamble,
)  # fmt: skip

from .serving import ROOT


def read_vectors(name: str) -> Dict[str, Any]:
    content: Dict[str, Any] = json.loads((ROOT / "test" / "vectors" / f"{name}.json").read_text("utf-8"))
    return content


def code_name(wire: int) -> str:
    return "none" if wire == 0 else code_of_wire(wire) or str(wire)


def plain(message: Message) -> Dict[str, Any]:
    """As vectors show it: integers of 64 bits as decimal text, codes and fields by name."""
    if isinstance(message, Hello):
        return {"type": "HELLO", "producer": f"{message.producer:016x}", "features": message.features, "name": message.name}
    if isinstance(message, Welcome):
        return {
            "type": "WELCOME", "features": message.features, "frameBytesMax": message.frame_bytes_max,
            "jobBytesMax": message.job_bytes_max, "frameJobsMax": message.frame_jobs_max, "credit": str(message.credit),
            "idleMs": message.idle_ms, "store": message.store, "instance": message.instance, "host": message.host,
            "version": message.version,
        }  # fmt: skip
    if isinstance(message, Jobs):
        return {"type": "JOBS", "count": message.jobs, "payload": message.payload.hex()}
    if isinstance(message, Ack):
        return {"type": "ACK", "ranges": [{"first": str(first), "jobs": jobs} for first, jobs in message.ranges]}
    if isinstance(message, Refused):
        jobs = [
            {"sequence": str(job.sequence), "code": code_name(job.wire), "field": field_name(job.field), "detail": job.detail}
            for job in message.jobs
        ]
        return {"type": "REFUSED", "jobs": jobs}
    if isinstance(message, Credit):
        return {"type": "CREDIT", "bytes": str(message.bytes_granted)}
    if isinstance(message, (Ping, Pong)):
        return {"type": "PING" if isinstance(message, Ping) else "PONG", "token": str(message.token)}
    if isinstance(message, Goodbye):
        addresses = list(message.addresses)
        return {"type": "GOODBYE", "code": code_name(message.wire), "reason": message.reason, "addresses": addresses}
    return {"type": "ERROR", "code": code_name(message.wire), "message": message.message}


def decode_all(data: bytes, pieces: int) -> List[Frame]:
    decoder = FrameDecoder()
    frames: List[Frame] = []
    for at in range(0, len(data), pieces):
        frames.extend(decoder.push(data[at : at + pieces]))
    return frames


class VectorsTest(unittest.TestCase):
    def test_decodes_and_encodes_every_answer_of_the_vectors(self) -> None:
        kinds = set()
        for vector in read_vectors("answers")["answers"]:
            data = bytes.fromhex(vector["bytes"])
            with self.subTest(vector["name"]):
                if vector["frame"]["type"] == "PREAMBLE":
                    decoder = FrameDecoder()
                    self.assertEqual(list(decoder.push(data)), [])
                    expected = Preamble(vector["frame"]["version"], vector["frame"]["highest"])
                    self.assertEqual((decoder.preamble, encode_preamble(*expected)), (expected, data))
                    continue
                (frame,) = decode_all(encode_preamble() + data, 1 << 20)
                message = decode_message(frame)
                self.assertEqual(plain(message), vector["frame"])
                self.assertEqual(encode_message(message), data)
                kinds.add(vector["frame"]["type"])
        self.assertEqual(len(kinds), 10)

    def test_finds_the_same_frames_wherever_the_stream_is_cut(self) -> None:
        answers = [bytes.fromhex(vector["bytes"]) for vector in read_vectors("answers")["answers"]]
        stream = encode_preamble() + b"".join(data for data in answers if not data.startswith(b"USHR"))
        whole = decode_all(stream, len(stream))
        for pieces in (1, 2, 3, 7, 11, 12, 13, 100):
            self.assertEqual(decode_all(stream, pieces), whole)
        for at in range(len(stream)):
            decoder = FrameDecoder()
            self.assertEqual([*decoder.push(stream[:at]), *decoder.push(stream[at:])], whole, at)


class DamageTest(unittest.TestCase):
    def code_of(self, data: bytes) -> str:
        with self.assertRaises(UsherError) as caught:
            for frame in FrameDecoder().push(data):
                decode_message(frame)
        return caught.exception.code

    def test_is_named(self) -> None:
        good = encode_message(Ack([(1, 1)]))
        for data, code in (
            (b"HTTP/1.1", "not_usher"),
            (encode_preamble() + good[:-1] + b"\xff", "frame_corrupt"),
            (encode_preamble() + bytes(4) + (ANSWER_BYTES_MAX + 1).to_bytes(4, "little") + bytes(4), "frame_too_large"),
            (encode_preamble() + encode_frame(11, 0, b""), "frame_unexpected"),
            (encode_preamble() + encode_frame(4, 2, good[12:]), "frame_malformed"),
            (encode_preamble() + encode_frame(6, 0, bytes(9)), "frame_malformed"),
            (encode_preamble() + encode_frame(6, 1, bytes(8)), "frame_malformed"),
            (encode_preamble() + encode_frame(9, 1, bytes(3)), "frame_malformed"),
            (encode_preamble() + encode_frame(10, 0, b"\x01\x00\x01\x00\xff"), "frame_malformed"),
        ):
            self.assertEqual(self.code_of(data), code)

    def test_of_any_single_bit_is_seen_and_what_came_before_is_handed_out(self) -> None:
        good = encode_message(Ack([(1, 1), (7, 12)]))
        for bit in range(len(good) * 8):
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            decoder = FrameDecoder()
            frames: List[Frame] = []
            try:
                for frame in decoder.push(encode_preamble() + good + bad):
                    frames.append(frame)
            except UsherError as error:
                self.assertIn(error.code, ("frame_corrupt", "frame_too_large"))
            # A length that grew leaves the frame unfinished.
            self.assertEqual(len(frames), 1, bit)

    def test_of_an_answer_cut_within_a_character_is_forgiven_in_a_detail_only(self) -> None:
        refused = encode_frame(5, 1, bytes(8) + b"\x27\x00\x08\x02" + b"a\xc3")
        (frame,) = decode_all(encode_preamble() + refused, 1 << 10)
        message = decode_message(frame)
        assert isinstance(message, Refused)
        self.assertEqual(message.jobs[0].detail, "a")


class CodesTest(unittest.TestCase):
    def test_have_numbers_of_their_own(self) -> None:
        wires = [info.wire for info in CODES.values() if info.wire != 0]
        self.assertEqual(len(wires), len(set(wires)))


if __name__ == "__main__":
    unittest.main()
