"""Jobs in JSON to bytes. That the bytes are those of the TypeScript client is shown by test/system/python-client.test.ts."""

import struct
import unittest
from types import MappingProxyType
from typing import Any, Dict

from usher_client.encoder import encode_fields
from usher_client.errors import RefusedError
from usher_client.frames import encode_jobs_frame
from usher_client.ids import JobId, format_job_id, parse_job_id, producer_of_name

PLAIN = {"executable": "/bin/echo", "arguments": ["hello"], "environment": {"A": "1"}}


class EncoderTest(unittest.TestCase):
    def refused(self, job: Any) -> "tuple[str, str, Any]":
        with self.assertRaises(RefusedError) as caught:
            encode_fields(job)
        error = caught.exception
        return error.code, error.details["field"], error.details.get("detail")

    def test_writes_the_frame_of_the_protocols_example(self) -> None:
        fields = encode_fields(PLAIN)
        job = struct.pack("<IQ", len(fields) + 8, 17) + fields
        example = (
            "b471c86f 23000000 03 00 0100 1f000000 1100000000000000 0409 2f62696e2f6563686f 0505 68656c6c6f 0803 01 41 31"
        )
        self.assertEqual(encode_jobs_frame([job], len(job)), bytes.fromhex(example.replace(" ", "")))

    def test_takes_what_is_unusual_as_if_it_were_plain(self) -> None:
        class Text(str):
            pass

        plain = encode_fields(PLAIN)
        for job in (
            {"spec": PLAIN},
            {"spec": PLAIN, "cluster": None},
            MappingProxyType(PLAIN),
            {**PLAIN, "name": None, "resources": None, "attributes": {"duration": None, "custom_attributes": {}}},
            {**PLAIN, "arguments": ("hello",), "inherit_environment": True},
            {**PLAIN, "executable": Text("/bin/echo"), "environment": {Text("A"): 1}},
            {**PLAIN, "environment": {"A": 1.0}, "resources": {"__version": 1, "exclusive_node_use": False}},
            dict(reversed(list(PLAIN.items()))),
        ):
            self.assertEqual(encode_fields(job), plain, job)

    def test_takes_no_equal_value_of_another_type(self) -> None:
        # 1 == True == 1.0 to Python: what was kept for one must not be found for another.
        right: Dict[str, Any] = {"executable": "/bin/true", "resources": {"process_count": 1}}
        first = encode_fields(right)
        self.assertEqual(encode_fields({**right, "resources": {"process_count": 1.0}}), first)
        self.assertEqual(
            self.refused({**right, "resources": {"process_count": True}}), ("field_invalid", "resources.process_count", None)
        )
        refused = self.refused({**right, "resources": {"exclusive_node_use": 1}})
        self.assertEqual(refused, ("field_invalid", "resources.exclusive_node_use", None))
        self.assertEqual(self.refused({**right, "inherit_environment": 0}), ("field_invalid", "inherit_environment", None))
        self.assertEqual(encode_fields({**right, "environment": {"A": True}}).count(b"\x08\x06\x01Atrue"), 1)
        self.assertEqual(encode_fields({**right, "environment": {"A": 1}}).count(b"\x08\x03\x01A1"), 1)

    def test_orders_keys_as_their_bytes(self) -> None:
        job = {"executable": "/bin/true", "environment": {"\U0001f600": "4", "\uffe0": "3", "b": "2", "a": "1"}}
        fields = encode_fields(job)
        places = [fields.index(key.encode(), 11) for key in "ab\uffe0\U0001f600"]
        self.assertEqual(places, sorted(places))

    def test_says_the_first_thing_that_is_wrong(self) -> None:
        job: Dict[str, Any] = {"executable": "/bin/true"}
        for wrong, expected in (
            ([], ("job_malformed", "", None)),
            ({}, ("field_missing", "executable", None)),
            ({"executable": ""}, ("field_invalid", "executable", None)),
            ({**job, "id": 1}, ("field_unknown", "id", None)),
            ({**job, "resources": {"process_counts": 1}}, ("field_unknown", "resources.process_counts", None)),
            ({**job, "arguments": "text"}, ("field_invalid", "arguments", None)),
            ({**job, "arguments": ["a", 1]}, ("field_invalid", "arguments", "1")),
            ({**job, "arguments": ["a", "\x00"]}, ("text_not_xml", "arguments", "1")),
            ({**job, "name": "\ud800"}, ("text_not_utf8", "name", None)),
            ({**job, "environment": {"A=B": "1"}}, ("field_invalid", "environment", "A=B")),
            ({**job, "environment": {"A": None}}, ("field_invalid", "environment", "A")),
            ({**job, "environment": {1: "A"}}, ("field_invalid", "environment", "1")),
            ({**job, "environment": {"A": float("nan")}}, ("field_invalid", "environment", "A")),
            ({**job, "environment": {"A": 10**5000}}, ("field_invalid", "environment", "A")),
            ({**job, "attributes": {"duration": 10**5000}}, ("field_invalid", "attributes.duration", None)),
            ({**job, "resources": {"memory": 10**5000}}, ("field_invalid", "resources.memory", None)),
            ({**job, "attributes": {"duration": "0 s"}}, ("field_invalid", "attributes.duration", None)),
            ({**job, "attributes": {"duration": "soon"}}, ("field_invalid", "attributes.duration", None)),
            ({**job, "traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01"}, ("field_invalid", "traceparent", None)),
            (
                {**job, "resources": {"node_count": 2, "process_count": 5, "processes_per_node": 2}},
                ("resources_contradict", "resources.process_count", None),
            ),
            ({**job, "resources": {"memory": 2**53}}, ("field_invalid", "resources.memory", None)),
            ({**job, "name": ["unhashable"]}, ("field_invalid", "name", None)),
        ):
            self.assertEqual(self.refused(wrong), expected, wrong)

    def test_does_not_keep_more_than_it_may(self) -> None:
        for i in range(10_000):
            self.assertTrue(encode_fields({"executable": f"/bin/{i}"}).endswith(b"%d" % i))


class JobIdTest(unittest.TestCase):
    def test_is_written_and_read_one_way(self) -> None:
        self.assertEqual(format_job_id(0x9F8C2E71A4B0D3E5, 17), "9f8c2e71a4b0d3e5-17")
        self.assertEqual(parse_job_id("9f8c2e71a4b0d3e5-17"), JobId(0x9F8C2E71A4B0D3E5, 17))
        self.assertEqual(str(JobId(1, 2**64 - 1)), "0000000000000001-18446744073709551615")
        for text in ("9f8c2e71a4b0d3e5-017", "9F8C2E71A4B0D3E5-1", "9f8c2e71a4b0d3e5", "1-1", f"{1:016x}-{2**64}"):
            self.assertIsNone(parse_job_id(text), text)

    def test_of_a_name_is_the_one_that_usher_send_derives(self) -> None:
        # echo -n nightly-2026-11-23 | sha256sum
        self.assertEqual(f"{producer_of_name('nightly-2026-11-23'):016x}", "0b6d58489c2cda64")


if __name__ == "__main__":
    unittest.main()
