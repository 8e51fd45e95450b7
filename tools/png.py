"""8-bit PNG files in plain Python, for scripts and tests that have nothing but the standard library.

A picture is a list of rows, each the bytes of its pixels: 3 a pixel (RGB) or 1 (gray).
"""
import pathlib
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3}  # by the colour type of the header: gray, RGB


def _paeth(left, above, corner):
    p = left + above - corner
    return min((abs(p - left), 0, left), (abs(p - above), 1, above), (abs(p - corner), 2, corner))[2]


def read(path):
    """(channels, rows) of a file without interlacing or palette, as easel writes them."""
    data = pathlib.Path(path).read_bytes()
    if data[:8] != SIGNATURE:
        raise ValueError(f"{path} is no PNG")
    at, body = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        content = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content)
            if depth != 8 or colour not in CHANNELS or interlaced:
                raise ValueError(f"{path}: expected 8-bit gray or RGB in plain order, found depth {depth}, type {colour}")
        elif kind == b"IDAT":
            body += content
        at += 12 + length
    channels, body = CHANNELS[colour], zlib.decompress(body)
    size = channels * width
    rows, above = [], bytes(size)
    for y in range(height):
        begin = y * (size + 1)
        kind, line = body[begin], bytearray(body[begin + 1:begin + 1 + size])
        for i in range(size if kind else 0):
            left, corner = (line[i - channels], above[i - channels]) if i >= channels else (0, 0)
            guess = (left, above[i], (left + above[i]) // 2, _paeth(left, above[i], corner))[kind - 1]
            line[i] = (line[i] + guess) & 255
        rows.append(bytes(line))
        above = line
    return channels, rows


def write(path, rows, channels=3):
    """Each row is predicted from its left and upper neighbours (Paeth), which packs smooth pictures well."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packed, above = bytearray(), bytes(len(rows[0]))
    for row in rows:
        left, corner = bytes(channels) + bytes(row), bytes(channels) + bytes(above)
        packed.append(4)
        packed += bytes((value - _paeth(left[i], above[i], corner[i])) & 255 for i, value in enumerate(row))
        above = row
    head = struct.pack(">IIBBBBB", len(rows[0]) // channels, len(rows), 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    pathlib.Path(path).write_bytes(SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(packed), 9)) +
                                   chunk(b"IEND", b""))
