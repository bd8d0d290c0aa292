"""CRC-32C by folding, against the definition."""

import os
import random
import unittest

from usher_client.crc32c import MULTIPLES, crc32c

GENERATOR = 0x11EDC6F41


def bitwise(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0x82F63B78 if crc & 1 else crc >> 1
    return crc ^ 0xFFFFFFFF


class Crc32cTest(unittest.TestCase):
    def test_has_the_values_of_rfc_3720(self) -> None:
        for data, crc in (
            (b"", 0),
            (b"123456789", 0xE3069283),
            (bytes(32), 0x8A9136AA),
            (b"\xff" * 32, 0x62A8AB43),
            (bytes(range(32)), 0x46DD794E),
            (bytes(range(31, -1, -1)), 0x113FDB5C),
        ):
            self.assertEqual(crc32c(data), crc)

    def test_folds_by_multiples_of_the_generator(self) -> None:
        for exponents in MULTIPLES:
            rest = sum(1 << exponent for exponent in (*exponents, 0))
            while rest.bit_length() > 32:
                rest ^= GENERATOR << (rest.bit_length() - 33)
            self.assertEqual(rest, 0, exponents)

    def test_is_what_the_definition_says_at_every_length_to_600(self) -> None:
        data = random.Random(1).randbytes(600)
        for length in range(len(data) + 1):
            self.assertEqual(crc32c(data[:length]), bitwise(data[:length]), length)

    def test_is_what_the_definition_says_for_long_messages_and_each_kind_of_buffer(self) -> None:
        seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
        chance = random.Random(seed)
        for bits in range(10, 19):
            data = chance.randbytes((1 << bits) + chance.randrange(1 << bits))
            crc = bitwise(data)
            for buffer in (data, bytearray(data), memoryview(data)):
                self.assertEqual(crc32c(buffer), crc, f"seed {seed}, {len(data)} bytes")

    def test_sees_every_single_bit_of_a_frame(self) -> None:
        data = bytearray(random.Random(2).randbytes(4000))
        crc = crc32c(data)
        for bit in range(0, len(data) * 8, 37):
            data[bit // 8] ^= 1 << bit % 8
            self.assertNotEqual(crc32c(data), crc, bit)
            data[bit // 8] ^= 1 << bit % 8


if __name__ == "__main__":
    unittest.main()
