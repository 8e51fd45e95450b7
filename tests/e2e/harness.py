"""What the end-to-end tests share: running the command, safetensors and PNG files, comparison. Standard library only.

The program under test is named by the environment variable EASEL.
"""
import array
import json
import math
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import png  # noqa: E402  found only now

EASEL = os.environ.get("EASEL", "easel")
GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "sd15"
MODEL = GOLDENS / "a"
# As small as it gets with every part of the path in use.
TINY = ["--model", MODEL, "--steps", "2", "--width", "40", "--height", "24", "--dtype", "fp32"]


def run(*args, cwd=None, env=None, timeout=120, preexec=None):
    """The finished process of `easel ARGS`, with text output. A crash (death by a signal) is an error at once."""
    command = [EASEL, *(a if isinstance(a, bytes) else str(a) for a in args)]
    environment = {**os.environ, "XDG_DATA_HOME": "/nonexistent", **(env or {})}
    environment.pop("EASEL_MODELS", None) if not env or "EASEL_MODELS" not in env else None
    done = subprocess.run(command, cwd=cwd, env=environment, timeout=timeout, preexec_fn=preexec,
                          capture_output=True, text=True, errors="backslashreplace", stdin=subprocess.DEVNULL)
    if done.returncode < 0:
        raise AssertionError(f"died of signal {-done.returncode}: {command}\n{done.stderr}")
    return done


class Case(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="easel-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.out = self.folder / "out"

    def generate(self, *args, **kwargs):
        """A run of `easel generate` that must succeed; returns the paths it printed."""
        done = run("generate", "--out-dir", self.out, *args, **kwargs)
        self.assertEqual(done.returncode, 0, done.stderr)
        paths = [pathlib.Path(line) for line in done.stdout.splitlines()]
        for path in paths:
            self.assertTrue(path.is_file(), f"{path} was printed but is not there")
        return paths

    def refused(self, status, *words, args, out=None, **kwargs):
        """A run that must end with `status` and one line with all the words, and leave no file in the out folder."""
        done = run("generate", "--out-dir", out or self.out, *args, **kwargs)
        self.check_refusal(done, status, words)
        if self.out.is_dir():
            self.assertEqual(sorted(p.name for p in self.out.iterdir()), [], "files were left behind")
        return done

    def check_refusal(self, done, status, words):
        self.assertEqual(done.returncode, status, f"stdout: {done.stdout}\nstderr: {done.stderr}")
        self.assertEqual(done.stdout, "")
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, f"expected one line, found:\n{done.stderr}")
        self.assertTrue(lines[0].startswith("easel: error: "), lines[0])
        for word in words:
            self.assertIn(word, lines[0])

    def copy_of_model(self, name="model", source=MODEL):
        target = self.folder / name
        shutil.copytree(source, target)
        return target


# --- safetensors ---------------------------------------------------------------------------------------------------

TYPES = {"F32": "f", "F64": "d", "I32": "i", "I64": "q", "U8": "B"}


def read_safetensors(path):
    """{name: (shape, array of float)} of a file of F32 or F64 tensors."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    out = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        begin, end = info["data_offsets"]
        values = array.array(TYPES[info["dtype"]])
        values.frombytes(data[8 + length + begin:8 + length + end])
        out[name] = (info["shape"], values)
    return out


def write_safetensors(path, tensors):
    """tensors: {name: (dtype, shape, bytes)}."""
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    write_raw_safetensors(path, header, data)


def write_raw_safetensors(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def edit_safetensors(path, edit):
    """Calls edit(header, data) with the JSON object and a bytearray, and writes what it returns."""
    raw = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, data = edit(json.loads(raw[8:8 + length]), bytearray(raw[8 + length:]))
    write_raw_safetensors(path, header, bytes(data))


def relative_l2(found, expected):
    """|found − expected| / |expected| of two tensors; infinite where shapes differ or a number is not finite."""
    if found[0] != expected[0]:
        return math.inf
    error = sum((a - b) ** 2 for a, b in zip(found[1], expected[1]))
    norm = sum(b * b for b in expected[1])
    value = math.sqrt(error / norm) if norm > 0 else math.sqrt(error)
    return value if math.isfinite(value) else math.inf


# --- PNG -----------------------------------------------------------------------------------------------------------

def png_chunks(path):
    data = pathlib.Path(path).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", f"{path} is no PNG"
    at, out = 8, []
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        out.append((kind, data[at + 8:at + 8 + length], data[at:at + 12 + length]))
        at += 12 + length
    return out


def png_text(path):
    """{keyword: text} of the tEXt and uncompressed iTXt chunks."""
    out = {}
    for kind, body, _ in png_chunks(path):
        if kind == b"tEXt":
            keyword, text = body.split(b"\0", 1)
            out[keyword.decode("latin-1")] = text.decode("latin-1")
        elif kind == b"iTXt":
            keyword, rest = body.split(b"\0", 1)
            assert rest[0] == 0, "compressed text"
            out[keyword.decode("latin-1")] = rest[2:].split(b"\0", 2)[2].decode("utf-8")
    return out


def png_size(path):
    return struct.unpack(">II", png_chunks(path)[0][1][:8])


def rgb(path):
    """The pixels of an 8-bit RGB PNG as easel writes it, [height][3·width]."""
    channels, rows = png.read(path)
    assert channels == 3, f"{path} is not RGB"
    return rows


def png_pixels(path):
    """The compressed pixels: one encoder writes both sides of a comparison."""
    return b"".join(body for kind, body, _ in png_chunks(path) if kind in (b"IHDR", b"IDAT"))


def drop_text_chunk(path, keyword):
    kept = [raw for kind, body, raw in png_chunks(path)
            if not (kind in (b"tEXt", b"iTXt") and body.startswith(keyword.encode() + b"\0"))]
    pathlib.Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(kept))
