"""easel upscale: pictures, files, messages; and previews while a picture is made."""
import json
import pathlib
import struct
import sys
import unittest
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from harness import GOLDENS, MODEL, TINY, Case, png_chunks, png_pixels, png_size, png_text, run  # noqa: E402

UPSCALE = GOLDENS.parent / "upscale"
TAESD = GOLDENS.parent / "taesd"
X4, X2 = UPSCALE / "compact_x4.pth", UPSCALE / "rrdb_x2.safetensors"
PROMPT = "a red balloon"
FOUR = ["--model", MODEL, "--steps", "4", "--width", "40", "--height", "24", "--dtype", "fp32"]


def write_raw_png(path, width, height, kind, rows):
    """kind: 0 gray, 6 RGBA; rows: scan lines with their filter bytes."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(rows)
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


class Upscale(Case):
    def setUp(self):
        super().setUp()
        self.picture = self.generate(PROMPT, *TINY, "--seed", "1")[0]
        self.big = self.folder / "big"

    def upscale(self, *args, model=X4):
        done = run("upscale", "--model", model, "--out-dir", self.big, "--dtype", "fp32", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def refused(self, status, *words, args):
        done = run("upscale", "--out-dir", self.big, *args)
        self.check_refusal(done, status, words)
        self.assertFalse(self.big.exists() and list(self.big.iterdir()), "files were left behind")

    def test_names_sizes_and_texts(self):
        first = pathlib.Path(self.upscale(self.picture).strip())
        self.assertEqual(first.name, self.picture.stem + "_x4.png")
        second = pathlib.Path(self.upscale(self.picture).strip())
        self.assertEqual(second.name, self.picture.stem + "_x4_001.png")
        self.assertEqual(first.read_bytes(), second.read_bytes())
        self.assertEqual(png_size(first), (160, 96))
        self.assertEqual(png_text(first), png_text(self.picture))
        self.assertIn("parameters", png_text(first))
        third = pathlib.Path(self.upscale(self.picture, model=X2).strip())
        self.assertEqual(png_size(third), (80, 48))

    def test_folders_json_and_tiles(self):
        self.generate(PROMPT, *TINY, "--seed", "2")
        out = json.loads(self.upscale(self.out, "--json", "--tile", "16"))
        self.assertEqual([pathlib.Path(image["input"]).name for image in out["images"]],
                         ["img_000_steps2.png", "img_001_steps2.png"])
        self.assertEqual(out["images"][0]["tiles"], 2)  # 16 and what is kept at the edges
        self.assertEqual(out["model"]["scale"], 4)
        self.assertEqual(len(out["seconds"]["upscale"]), 2)
        self.assertGreater(out["peak_memory_bytes"], 0)
        whole = pathlib.Path(self.upscale(self.picture, "--tile", "0").strip())
        self.assertEqual(png_pixels(whole), png_pixels(out["images"][0]["file"]), "tiles left a trace")

    def test_alpha_stays(self):
        picture = self.folder / "veil.png"
        write_raw_png(picture, 6, 5, 6, bytes(range(25)) * 5)
        kind = struct.unpack(">BB", png_chunks(self.upscale(picture).strip())[0][1][8:10])
        self.assertEqual(kind, (8, 6))  # 8 bits, RGB and alpha

    def test_another_factor(self):
        self.refused(2, "--scale", args=[self.picture, "--model", X4, "--scale", "0"])
        path = pathlib.Path(self.upscale(self.picture, "--scale", "2.5").strip())
        self.assertEqual((path.name, png_size(path)), (self.picture.stem + "_x2.5.png", (100, 60)))
        self.assertEqual(png_text(path), png_text(self.picture))

    def test_messages(self):
        self.refused(2, "INPUT", args=["--model", X4])
        self.refused(2, "--model", args=[self.picture])
        self.refused(1, "nothing.png", "found nothing", args=[self.folder / "nothing.png", "--model", X4])
        self.refused(1, "nothing.pth", args=[self.picture, "--model", self.folder / "nothing.pth"])
        self.refused(1, "expected an upscaler", "Stable Diffusion",
                     args=[self.picture, "--model", GOLDENS / "d" / "model.safetensors"])
        self.refused(1, "expected an upscaler", "TAESD", "--vae takes it",
                     args=[self.picture, "--model", TAESD / "taesd_decoder.safetensors"])
        self.refused(2, "--tile", "16", args=[self.picture, "--model", X4, "--tile", "5"])
        self.refused(2, "--dtype", args=[self.picture, "--model", X4, "--dtype", "fp7"])
        broken = self.folder / "broken.png"
        broken.write_bytes(self.picture.read_bytes()[:200])
        self.refused(1, "broken.png", args=[broken, "--model", X4])
        huge = self.folder / "huge.png"
        write_raw_png(huge, 12000, 1000, 0, bytes(12001) * 1000)
        self.refused(2, "huge.png", "12000×1000", args=[huge, "--model", X4])
        empty = self.folder / "empty"
        empty.mkdir()
        self.refused(1, "expected pictures (.png, .jpg, .webp) in the folder", args=[empty, "--model", X4])
        done = run("generate", PROMPT, "--model", X4, "--out-dir", self.big)
        self.check_refusal(done, 1, ["easel upscale takes it"])

    def test_random_networks_of_the_published_sizes(self):
        path = self.folder / "animevideo.safetensors"
        done = run("make-random", "--upscaler", "animevideo", path, "--dtype", "fp16")
        self.assertEqual(done.returncode, 0, done.stderr)
        out = json.loads(self.upscale(self.picture, "--json", model=path))
        self.assertEqual(out["model"]["architecture"], "SRVGGNetCompact, 16 convolutions of 64 features")
        self.check_refusal(run("make-random", "--upscaler", "animevideo", path), 1, ["expected a new file"])
        self.check_refusal(run("make-random", "--upscaler", "x3", path), 2, ["--upscaler"])


class Preprocess(Case):
    def test_canny_and_lineart(self):
        edges = GOLDENS.parent / "edges"
        for name, expected in (("canny", "canny_0.png"), ("lineart", "lineart.png")):
            done = run("preprocess", name, edges / "picture.png", "--out-dir", self.out)
            self.assertEqual(done.returncode, 0, done.stderr)
            path = pathlib.Path(done.stdout.strip())
            self.assertEqual(path.name, f"picture_{name}.png")
            self.assertEqual(png_size(path), png_size(edges / expected))
        out = json.loads(run("preprocess", "canny", edges / "picture.png", "--out-dir", self.out, "--json",
                             "--low-threshold", "1", "--high-threshold", "2").stdout)
        self.assertEqual(out["images"][0]["width"], 61)
        self.assertTrue(out["images"][0]["file"].endswith("picture_canny_001.png"))
        for words, args in ((["canny or lineart", "depth"], ["depth", edges / "picture.png"]),
                            (["INPUT"], ["canny"]),
                            (["--sigma", "lineart"], ["canny", edges / "picture.png", "--sigma", "3"]),
                            (["--l2-gradient", "canny"], ["lineart", edges / "picture.png", "--l2-gradient"]),
                            (["--low-threshold"], ["canny", edges / "picture.png", "--low-threshold", "-1"])):
            self.check_refusal(run("preprocess", *args, "--out-dir", self.folder / "none"), 2, words)


class Previews(Case):
    def test_every_second_step(self):
        plain = self.generate(PROMPT, *FOUR, "--seed", "1", "--sampler", "euler")
        shown = self.generate(PROMPT, *FOUR, "--seed", "1", "--sampler", "euler",
                              "--preview-every", "2", "--preview-vae", TAESD / "tiny")
        self.assertEqual([path.name for path in shown],
                         ["preview_000_steps2.png", "preview_001_steps4.png", "img_001_steps4.png"])
        self.assertEqual(png_pixels(shown[2]), png_pixels(plain[0]), "a preview changed the picture")
        self.assertEqual(png_size(shown[0]), (40, 24))
        small = self.generate(PROMPT, *TINY, "--seed", "1", "--preview-every", "1")
        self.assertEqual(png_size(small[0]), (5, 3))

    def test_a_taesd_is_the_vae(self):
        folder, file = (self.generate(PROMPT, *TINY, "--seed", "1", "--vae", TAESD / name)[0]
                        for name in ("tiny", "taesd_decoder.safetensors"))
        self.assertEqual(png_size(folder), (40, 24))
        self.assertNotEqual(png_pixels(folder), png_pixels(self.generate(PROMPT, *TINY, "--seed", "1")[0]))
        self.assertEqual(png_size(file), (40, 24))

    def test_messages(self):
        self.refused(2, "--preview-vae", "--preview-every", args=[PROMPT, *TINY, "--preview-vae", TAESD / "tiny"])
        self.refused(2, "--preview-every", args=[PROMPT, *TINY, "--preview-every", "0"])
        self.refused(1, "--preview-vae", "expected a TAESD",
                     args=[PROMPT, *TINY, "--preview-every", "1", "--preview-vae", GOLDENS / "a" / "vae"])
        self.refused(1, "--vae", "found its encoder alone",
                     args=[PROMPT, *TINY, "--vae", TAESD / "taesd_encoder.pth"])


if __name__ == "__main__":
    unittest.main()
