#!/usr/bin/env python3
"""One picture of each job that begins from a picture, drawn by the demo model.

    python3 demo/jobs.py [FOLDER]      # default: outputs/jobs

Prints every command before it runs, so that each can be tried with other pictures. Standard library only; EASEL names
the program (default: build/bin/easel).
"""

import os
import pathlib
import shlex
import struct
import subprocess
import sys
import zlib

EASEL = os.environ.get("EASEL", "build/bin/easel")


def write_gray(path, rows):
    """An 8-bit gray PNG."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/jobs")

    def easel(name, *args):
        command = [EASEL, "generate", *map(str, args), "--steps", "25", "--seed", "1", "--quiet", "--out-dir",
                   str(out / name)]
        print("$", shlex.join(command), flush=True)
        path = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\n")[0]
        print(path, flush=True)
        return path

    base = easel("base", "a red balloon over green hills at sunset")
    disc, ramp = out / "disc.png", out / "ramp.png"  # where the balloon is; darker from the top down
    write_gray(disc, [[255 if (x - 64) ** 2 + (y - 44) ** 2 < 34 ** 2 else 0 for x in range(128)] for y in range(128)])
    write_gray(ramp, [[255 - 2 * y] * 128 for y in range(128)])
    easel("image_to_image", "a red balloon over snowy mountains in the night", "--init-image", base, "--strength", 0.7)
    easel("inpainting", "a blue balloon over green hills at sunset", "--init-image", base, "--mask", disc, "--mask-blur", 3)
    easel("inpainting_crop", "a white balloon over green hills at sunset", "--init-image", base, "--mask", disc,
          "--padding-mask-crop", 8, "--width", 128, "--height", 128)
    easel("differential", "green hills in the night with stars", "--init-image", base, "--mask", ramp, "--differential")
    easel("outpainting", "a red balloon over green hills at sunset", "--init-image", base, "--outpaint", "32,0,32,0")
    easel("high_res_fix", "a red balloon over green hills at sunset", "--hires-scale", 1.5, "--hires-strength", 0.6)
    easel("variations", "a red balloon over green hills at sunset", "--variation-seed", 100, "--variation-strength", 0.3,
          "--num-images-per-prompt", 4, "--save-grid")


if __name__ == "__main__":
    main()
