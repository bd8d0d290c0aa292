"""CRC-32C (Castagnoli; RFC 3720 appendix B.4) in pure Python, at hundreds of megabytes a second.

A table costs one turn of the interpreter for each byte. Here the message is one large integer instead, and whole halves
of it are folded at once with shifts and exclusive ors, which Python does in C, a machine word at a time.

Why that is the same: the CRC is the remainder of a polynomial over GF(2), and stays what it is when a multiple of the
generator is added. The generator has multiples with very few terms, x^k + x^a + x^b + 1. So x^k may be replaced by
x^a + x^b + 1 wherever it stands, that is: the front of the message, taken away, comes back as three shifted copies of
itself further down. Squaring such a multiple doubles its exponents (over GF(2), f(x)^2 = f(x^2)), so that one of them
serves every length of message. A table finishes the last hundred bytes.
"""

from __future__ import annotations

from typing import Callable, Union

Buffer = Union[bytes, bytearray, memoryview]
Crc32c = Callable[[Buffer], int]

_POLYNOMIAL_REFLECTED = 0x82F63B78
#: Multiples of the generator by their exponents, highest first, the 0 left out. tests/test_crc32c.py divides them.
MULTIPLES = ((6777, 484, 100), (290, 136, 113, 107, 32))
#: Below this many bytes the table alone is faster.
_FOLDED_BYTES_MIN = 96
#: The widest fold takes 2^14 times the exponents: frames of megabytes have three or four such folds.
_DOUBLINGS_MAX = 14


def _table_entry(byte: int) -> int:
    crc = byte
    for _ in range(8):
        crc = (crc >> 1) ^ _POLYNOMIAL_REFLECTED if crc & 1 else crc >> 1
    return crc


_TABLE = tuple(_table_entry(byte) for byte in range(256))


class _Fold:
    """One multiple at one scale. Bit i of the integer is bit i of the message, so the front is the low end."""

    __slots__ = ("bits_min", "mask", "shifts", "taken")

    def __init__(self, exponents: tuple[int, ...], scale: int) -> None:
        highest, second = exponents[0] * scale, exponents[1] * scale
        #: Bits that one fold takes away: as many as it can without a copy falling into what it takes.
        self.taken = highest - second
        #: A copy reaches this far; a shorter message would grow.
        self.bits_min = self.taken + highest
        #: How far each copy lies behind what was taken.
        self.shifts = tuple(highest - exponent * scale - self.taken for exponent in (*exponents[1:], 0))
        self.mask = 0

    def front(self) -> int:
        if self.mask == 0:
            self.mask = (1 << self.taken) - 1
        return self.mask


#: Widest first.
_FOLDS = tuple(
    sorted(
        [_Fold(MULTIPLES[0], 1 << doublings) for doublings in range(_DOUBLINGS_MAX + 1)]
        + [_Fold(MULTIPLES[1], 1 << doublings) for doublings in range(5)],
        key=lambda fold: -fold.taken,
    )
)


def crc32c(data: Buffer) -> int:
    """The CRC-32C of the bytes."""
    crc = 0xFFFFFFFF
    if len(data) >= _FOLDED_BYTES_MIN:
        bits = len(data) * 8
        # The CRC begins with all ones, which is the same as turning over the first 32 bits.
        message = int.from_bytes(data, "little") ^ 0xFFFFFFFF
        crc = 0
        for fold in _FOLDS:
            bits_min = fold.bits_min
            if bits < bits_min:
                continue
            taken = fold.taken
            mask = fold.front()
            shifts = fold.shifts
            while bits >= bits_min:
                front = message & mask
                message >>= taken
                for shift in shifts:
                    message ^= front << shift
                bits -= taken
        # Zeros in front change nothing where the CRC is 0: the bits that are left are filled up to whole bytes there.
        message <<= -bits % 8
        data = message.to_bytes((bits + 7) // 8, "little")
    table = _TABLE
    for byte in data:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
