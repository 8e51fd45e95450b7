#!/usr/bin/env python3
"""One picture of each kind of job, drawn by the demo model and its two adapters, on one sheet.

    python3 demo/jobs.py [FOLDER] [--sheet FILE]      # default: outputs/jobs, FOLDER/jobs.png

Prints every command before it runs, so that each can be tried with other pictures. Standard library only; EASEL names
the program (default: build/bin/easel). The folder must be new: pictures are never overwritten.
"""

import argparse
import os
import pathlib
import shlex
import subprocess
import sys

DEMO = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(DEMO.parent / "tools"))
import png  # noqa: E402  found only now

EASEL = os.environ.get("EASEL", "build/bin/easel")
LINOCUT = DEMO / "lora" / "linocut.safetensors"
CONTROL_NET = DEMO / "control_net"

# The letters of the captions, 5 x 8: one number per column, the lowest bit on top.
FONT = {
    "a": "2054547840", "b": "7f28444438", "c": "3844444428", "d": "384444287f", "e": "3854545418", "f": "00087e0902",
    "g": "18a4a49c78", "h": "7f08040478", "i": "00447d4000", "j": "2040403d00", "k": "7f10284400", "l": "00417f4000",
    "m": "7c04780478", "n": "7c08040478", "o": "3844444438", "p": "fc18242418", "q": "18242418fc", "r": "7c08040408",
    "s": "4854545424", "t": "04043f4424", "u": "3c4040207c", "v": "1c2040201c", "w": "3c4030403c", "x": "4428102844",
    "y": "4c9090907c", "z": "4464544c44", "0": "3e5149453e", "1": "00427f4000", "2": "7249494946", "3": "2141494d33",
    "4": "1814127f10", "5": "2745454539", "6": "3c4a494931", "7": "4121110907", "8": "3649494936", "9": "464949291e",
    "-": "0808080808", ".": "0000606000", ",": "0080703000", "+": "08083e0808", ":": "0000140000", " ": "0000000000",
}
PAPER, INK = 255, 40
SIZE = 128  # of the demo model's pictures
GAP, CAPTION = 6, 26  # pixels between pictures, and below them for two lines of text


class Sheet:
    """Rows of pictures with captions, each row spread over the width of the first."""

    def __init__(self):
        self.rows, self.width = [], 0

    def add(self, pictures):
        """pictures: [(path, caption)]; one caption may have two lines."""
        read = []
        for path, caption in pictures:
            channels, rows = png.read(path)
            read.append((rows if channels == 3 else [bytes(v for v in row for _ in "rgb") for row in rows], caption))
        total = sum(len(rows[0]) // 3 for rows, _ in read)
        self.width = self.width or total + GAP * (len(read) - 1)
        height = max(len(rows) for rows, _ in read)
        lines = [bytearray([PAPER]) * (3 * self.width) for _ in range(height + CAPTION)]
        x = 0
        for index, (rows, caption) in enumerate(read):
            size = len(rows[0]) // 3
            left = x + (self.width - total) * index // max(1, len(read) - 1)
            for y, row in enumerate(rows):
                lines[y][3 * left:3 * (left + size)] = row
            for number, text in enumerate(caption.split("\n")):
                self._write(lines, left, height + 4 + 10 * number, text)
            x += size
        self.rows += lines

    @staticmethod
    def _write(lines, left, top, text):
        for index, letter in enumerate(text):
            for column, bits in enumerate(bytes.fromhex(FONT[letter])):
                for y in range(8):
                    at = 3 * (left + 6 * index + column)
                    if bits >> y & 1 and at + 3 <= len(lines[0]):
                        lines[top + y][at:at + 3] = bytes([INK] * 3)

    def save(self, path):
        png.write(path, self.rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=pathlib.Path("outputs/jobs"))
    parser.add_argument("--sheet", type=pathlib.Path, help="the sheet of all pictures")
    args = parser.parse_args()
    out = args.folder
    if out.exists() and any(out.iterdir()):
        parser.error(f"{out} is not empty")
    out.mkdir(parents=True, exist_ok=True)

    def easel(name, command, *options):
        line = [EASEL, command, *map(str, options), "--out-dir", str(out / name)]
        print("$", shlex.join(line), flush=True)
        path = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\n")[0]
        print(path, flush=True)
        return path

    def draw(name, prompt, *options):
        return easel(name, "generate", prompt, *options, "--steps", 25, "--seed", 5, "--guidance-scale", 4, "--quiet")

    prompt = "a red balloon in the middle over green hills at sunset"
    base = draw("base", prompt)
    disc, above, right = (out / f"{name}.png" for name in ("disc", "above", "right"))  # where the balloon is; soft ones
    png.write(disc, [bytes(255 if (x - 66) ** 2 + (y - 42) ** 2 < 36 ** 2 else 0 for x in range(SIZE))
                     for y in range(SIZE)], 1)
    png.write(above, [bytes([min(255, max(0, 5 * (70 - y)))] * SIZE) for y in range(SIZE)], 1)
    png.write(right, [bytes(min(255, max(0, 4 * (x - 40))) for x in range(SIZE)) for y in range(SIZE)], 1)
    night = "a red balloon in the middle over green hills in the night with stars"
    sheet = Sheet()
    sheet.add([
        (base, "a prompt"),
        (draw("variation", prompt, "--variation-seed", 100, "--variation-strength", 0.35), "a variation"),
        (draw("image_to_image", "a red balloon in the middle over snowy mountains in the night", "--init-image", base,
              "--strength", 0.75), "image to image:\nmountains, night"),
        (draw("inpainting", "a blue balloon in the middle over green hills at sunset", "--init-image", base, "--mask",
              disc, "--mask-blur", 3), "inpainting:\na blue balloon"),
        (draw("soft_mask_above", night, "--init-image", base, "--mask", above, "--differential"),
         "soft mask:\nnight from above"),
        (draw("soft_mask_right", night, "--init-image", base, "--mask", right, "--differential"),
         "soft mask:\nfrom the right"),
    ])
    house = "a white house on the left in front of snowy mountains at noon with the sun shining"
    scene = draw("scene", house)
    edges = easel("edges", "preprocess", "canny", scene)
    sheet.add([
        (scene, "another prompt"),
        (draw("lora_half", house, "--lora", f"{LINOCUT}:0.5"), "lora linocut,\nweight 0.5"),
        (draw("lora", house, "--lora", LINOCUT), "lora linocut,\nweight 1"),
        (edges, "canny"),
        (draw("outpainting", "green hills at sunset", "--init-image", base, "--outpaint", "64,0,64,0"),
         "outpainting to both sides"),
    ])
    control = ("--control-net", CONTROL_NET, "--control-image", edges)
    sheet.add([
        (draw("control_sunset", "a red house in front of mountains at sunset", *control), "control net:\nred, sunset"),
        (draw("control_night", "a yellow house in front of mountains in the night", *control), "yellow, night"),
        (draw("control_dawn", "a purple house in front of mountains at dawn", *control), "purple, dawn"),
        (draw("control_free", "", *control), "no prompt"),
        (draw("control_half", "a red house in front of mountains at sunset", *control, "--control-scale", 0.5),
         "red, sunset,\nscale 0.5"),
        (draw("control_lora", "a white house in front of mountains at noon", *control, "--lora", LINOCUT),
         "with linocut"),
    ])
    path = args.sheet or out / "jobs.png"
    sheet.save(path)
    print(path)


if __name__ == "__main__":
    main()
