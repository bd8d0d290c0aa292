"""The vectors of docs/protocol.md, replayed against the real server and read with this client's decoder. How `expect`
is read is said in test/vectors/match.ts."""

import select
import signal
import socket
import time
import unittest
from typing import Any, ClassVar, Dict, List, Optional

from usher_client.frames import Ack, Credit, FrameDecoder, Refused, decode_message

from .serving import Folder, Server
from .test_frames import plain, read_vectors

FILES = ("connection", "frames", "jobs", "refusals")


def config(*clusters: str) -> str:
    return (
        "[limits]\nframe_bytes = 4096\njob_bytes = 2048\nframe_jobs = 16\ncredit_bytes = 4108\n"
        # Short, so that the vectors about time are replayed as well.
        "hello_timeout = 0.5\nframe_timeout = 0.5\nidle_timeout = 1.5\n"
    ) + "".join(f'[cluster.{name}]\ndriver = "discard"\n' for name in clusters)


class Answers:
    """What came on one connection."""

    def __init__(self) -> None:
        self._decoder = FrameDecoder()
        self._greeted = False
        self.in_order: List[Dict[str, Any]] = []
        self.accepted: List[int] = []
        self.refused: Dict[str, Dict[str, Any]] = {}
        self.credit = 0
        self.closed = False

    def push(self, data: bytes) -> None:
        for frame in self._decoder.push(data):
            self._greet()
            message = decode_message(frame)
            if isinstance(message, Ack):
                for first, jobs in message.ranges:
                    self.accepted.extend(range(first, first + jobs))
            elif isinstance(message, Refused):
                for job in plain(message)["jobs"]:
                    self.refused[job["sequence"]] = job
            elif isinstance(message, Credit):
                self.credit += message.bytes_granted
            else:
                self.in_order.append(plain(message))
        self._greet()

    def _greet(self) -> None:
        preamble = self._decoder.preamble
        if preamble is not None and not self._greeted:
            self._greeted = True
            self.in_order.insert(0, {"type": "PREAMBLE", "version": preamble.first, "highest": preamble.highest})

    def mismatches(self, expect: Dict[str, Any]) -> List[str]:
        problems: List[str] = []
        in_order = list(self.in_order)
        accepted = set(self.accepted)
        refused = dict(self.refused)
        credit = self.credit
        twice = any(frame["type"] == "ACK" and frame.get("again") for frame in expect["frames"])
        if len(accepted) != len(self.accepted) and not twice:
            problems.append("a job was acknowledged twice")
        for frame in expect["frames"]:
            kind, maybe = frame["type"], frame.get("maybe", False)
            if kind == "ACK":
                for each in [] if frame.get("again") else frame["ranges"]:
                    for sequence in range(int(each["first"]), int(each["first"]) + each["jobs"]):
                        if sequence not in accepted and not maybe:
                            problems.append(f"job {sequence} was not acknowledged")
                        accepted.discard(sequence)
            elif kind == "REFUSED":
                for job in frame["jobs"]:
                    actual = refused.pop(str(job["sequence"]), None)
                    if actual is not None or not maybe:
                        problems += compare(f"refusal of {job['sequence']}", job, actual)
            elif kind == "CREDIT":
                if credit >= int(frame["bytes"]):
                    credit -= int(frame["bytes"])
                elif not maybe:
                    problems.append(f"credit of {credit} bytes, not {frame['bytes']}")
            elif not maybe or (in_order and in_order[0]["type"] == kind):
                problems += compare(kind, frame, in_order.pop(0) if in_order else None)
        problems += [f"{frame['type']} was not expected" for frame in in_order]
        problems += [f"job {sequence} was acknowledged unexpectedly" for sequence in accepted]
        problems += [f"job {sequence} was refused unexpectedly" for sequence in refused]
        if credit > 0:
            problems.append(f"credit of {credit} bytes was not expected")
        if self.closed != expect["closes"]:
            problems.append("the connection was closed" if self.closed else "the connection was not closed")
        return problems


def compare(what: str, expected: Dict[str, Any], actual: Optional[Dict[str, Any]]) -> List[str]:
    if actual is None:
        return [f"{what} is missing"]
    problems = []
    for key, value in expected.items():
        right = value == "*" or value == actual.get(key)
        # A detail may be cut: any prefix will do.
        right = right or (key == "detail" and str(value).startswith(str(actual.get(key))))
        if key != "maybe" and not right:
            problems.append(f"{what}: {key} is {actual.get(key)!r}, not {value!r}")
    return problems


class VectorsTest(unittest.TestCase):
    folder: ClassVar[Folder]
    one: ClassVar[Server]
    two: ClassVar[Server]

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Folder()
        cls.addClassCleanup(cls.folder.remove)
        cls.one = Server(cls.folder, config("main"), "one")
        cls.addClassCleanup(cls.one.end, signal.SIGKILL)
        cls.two = Server(cls.folder, config("main", "second"), "two")
        cls.addClassCleanup(cls.two.end, signal.SIGKILL)

    def replay(self, vector: Dict[str, Any], piece: int) -> List[str]:
        host, _, port = (self.two if vector.get("server") else self.one).address.rpartition(":")
        data = bytes.fromhex(vector["bytes"])
        answers = Answers()
        with socket.create_connection((host, int(port))) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for at in range(0, len(data), piece):
                    sock.sendall(data[at : at + piece])
            except OSError:
                # It was closed at a mistake; what it said is still there.
                pass
            end = time.monotonic() + 5
            problems = ["nothing came"]
            while problems and time.monotonic() < end:
                if not answers.closed and select.select([sock], [], [], 0.05)[0]:
                    try:
                        received = sock.recv(1 << 16)
                    except ConnectionResetError:
                        received = b""
                    answers.closed = received == b""
                    answers.push(received)
                problems = answers.mismatches(vector["expect"])
                if answers.closed and problems:
                    break
        return problems

    def test_are_answered_as_the_protocol_says(self) -> None:
        replayed = 0
        for file in FILES:
            for vector in read_vectors(file)["vectors"]:
                # Those that need a state of the server have tests of their own, in test/system.
                if "needs" in vector:
                    continue
                with self.subTest(f"{file}: {vector['name']}"):
                    self.assertEqual(self.replay(vector, 1 << 16), [])
                    replayed += 1
        self.assertGreater(replayed, 55)

    def test_mean_the_same_when_each_byte_comes_by_itself(self) -> None:
        for file in ("connection", "jobs", "refusals"):
            for vector in read_vectors(file)["vectors"]:
                if "needs" in vector or "slow" in vector or len(vector["bytes"]) > 1000:
                    continue
                with self.subTest(f"{file}: {vector['name']}"):
                    self.assertEqual(self.replay(vector, 1), [])


if __name__ == "__main__":
    unittest.main()
