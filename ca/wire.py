"""The SSH data types of RFC 4251 section 5, both ways.

Writing: functions that return bytes. Reading: a `Reader` that walks a buffer, and
`strings` for one that holds nothing else. Both raise `Malformed` at the first thing
that is not as it says.
"""

import binascii
import struct

from ca.errors import Malformed

_U32_BYTES = 4
_U32 = struct.Struct(">I").pack
_U64 = struct.Struct(">Q").pack
_READ_U32 = struct.Struct(">I").unpack_from
LONGEST_STRING = 1 << 20
"""OpenSSH reads no certificate body above 1 MiB; nothing we parse comes near."""


def u32(value: int) -> bytes:
    """Encode a `uint32`."""
    return _U32(value)


def u64(value: int) -> bytes:
    """Encode a `uint64`."""
    return _U64(value)


def string(value: bytes) -> bytes:
    """Encode a `string`: its length as `uint32`, then its bytes."""
    return _U32(len(value)) + value


def text(value: str) -> bytes:
    """Encode text as a `string` of UTF-8."""
    encoded = value.encode()
    return _U32(len(encoded)) + encoded


def mpint(value: int) -> bytes:
    """Encode a non-negative number as an `mpint`, in its one shortest form."""
    # One bit more than the number has, so that the topmost, its sign, is 0.
    return string(value.to_bytes((value.bit_length() + 8) // 8) if value else b"")


class Reader:
    """Walk a buffer of SSH data; every method takes the next value off it."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at(self) -> int:
        """How many bytes have been read."""
        return self._at

    @property
    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._data)

    def take(self, count: int) -> bytes:
        """Return the next `count` raw bytes."""
        end = self._at + count
        if end > len(self._data):
            raise Malformed(f"data ends {end - len(self._data)} bytes early")
        value = self._data[self._at : end]
        self._at = end
        return value

    def since(self, at: int) -> bytes:
        """Return again what was read from `at` on."""
        return self._data[at : self._at]

    def u32(self) -> int:
        """Return a `uint32`."""
        return int.from_bytes(self.take(4))

    def u64(self) -> int:
        """Return a `uint64`."""
        return int.from_bytes(self.take(8))

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        """Return several numbers at once."""
        return layout.unpack(self.take(layout.size))

    def string(self) -> bytes:
        """Return the bytes of a `string`."""
        # In one piece: all that is signed and certified is read through here.
        data, at = self._data, self._at
        begin = end = at + _U32_BYTES
        if begin <= len(data):
            (length,) = _READ_U32(data, at)
            if length > LONGEST_STRING:
                raise Malformed(f"a string claims {length} bytes")
            end = self._at = begin + length
        if end > len(data):
            raise Malformed(f"data ends {end - len(data)} bytes early")
        return data[begin:end]

    def text(self) -> str:
        """Return a `string` that must be UTF-8 without NUL.

        sshd refuses a certificate with NUL in its key ID or principals
        (OpenSSH `sshbuf_get_cstring`).
        """
        return decode_text(self.string())

    def mpint(self) -> int:
        """Return a non-negative `mpint` in its one shortest form."""
        value = self.string()
        if value and value[0] & 0x80:
            raise Malformed("an mpint is negative")
        if value and value[0] == 0 and (len(value) == 1 or not value[1] & 0x80):
            raise Malformed("an mpint has leading zeros")
        return int.from_bytes(value)

    def finish(self) -> None:
        """Raise unless everything has been read."""
        if not self.at_end:
            raise Malformed(f"{len(self._data) - self._at} bytes too many")


def strings(data: bytes) -> list[bytes]:
    """Return the `string`s in a buffer that holds nothing else."""
    found, at = [], 0
    while at < len(data):
        begin = at + _U32_BYTES
        if begin > len(data):
            raise Malformed(f"data ends {begin - len(data)} bytes early")
        (length,) = _READ_U32(data, at)
        at = begin + length
        found.append(data[begin:at])
    if at > len(data):
        raise Malformed(f"data ends {at - len(data)} bytes early")
    return found


def decode_text(value: bytes) -> str:
    """Return what a `string` holds that must be UTF-8 without NUL."""
    try:
        decoded = value.decode()
    except UnicodeDecodeError as error:
        raise Malformed("a text is not UTF-8") from error
    if "\0" in decoded:
        raise Malformed("a text contains NUL")
    return decoded


def decode_base64(encoded: str) -> bytes:
    """Decode strict, padded base64; raise `Malformed` for anything else."""
    try:
        data = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError as error:
        raise Malformed("not base64") from error
    # Bits beyond the last byte must be zero, so that one value has one spelling.
    if encode_base64(data) != encoded:
        raise Malformed("not canonical base64")
    return data


def encode_base64(data: bytes) -> str:
    """Encode as padded base64."""
    return binascii.b2a_base64(data, newline=False).decode()


def fingerprint(key_blob: bytes) -> str:
    """Return a key's fingerprint as ssh-keygen prints it: `SHA256:` and base64."""
    # Imported here because `ca-login check` reads wire data and hashes nothing.
    import hashlib  # noqa: PLC0415

    digest = hashlib.sha256(key_blob).digest()
    return "SHA256:" + encode_base64(digest).rstrip("=")
