"""The demo model's adapters do what they are there for: the LoRA prints linocuts, the ControlNet follows edges."""
import unittest

from harness import ROOT, Case, png_pixels, rgb, run

LINOCUT = ROOT / "demo" / "lora" / "linocut.safetensors"
CONTROL_NET = ROOT / "demo" / "control_net"
INKS = ((22, 27, 66), (206, 66, 50), (240, 150, 62), (250, 234, 196))  # as in demo/train_lora.py
PROMPTS = ("a white house on the left in front of snowy mountains at noon",
           "a green car on the right in the city at dawn")
FAST = ["--steps", "12", "--guidance-scale", "4", "--dtype", "fp32", "--quiet"]


def off_the_inks(path):
    """The mean distance of a picture's pixels to the nearest of the four inks, in levels of 255."""
    total, count = 0.0, 0
    for row in rgb(path):
        for i in range(0, len(row), 3):
            total += min(sum((a - b) ** 2 for a, b in zip(row[i:i + 3], ink)) for ink in INKS) ** 0.5
            count += 1
    return total / count


def edges_of(path):
    """The white pixels of a picture of edges."""
    return {(x, y) for y, row in enumerate(rgb(path)) for x in range(len(row) // 3) if row[3 * x]}


def agreement(wanted, found):
    """F1 of two sets of edges: a pixel is right where the other set has one in the 3 x 3 around it."""
    def share(some, others):
        near = {(x + dx, y + dy) for x, y in others for dx in (-1, 0, 1) for dy in (-1, 0, 1)}
        return len(some & near) / len(some)

    precision, recall = share(found, wanted), share(wanted, found)
    return 2 * precision * recall / (precision + recall)


class Linocut(Case):
    def test_colours_come_from_the_inks(self):
        for prompt in PROMPTS:
            with self.subTest(prompt):
                plain, half, whole = (
                    off_the_inks(self.generate(prompt, *FAST, "--seed", "5", "--lora", f"{LINOCUT}:{weight}")[0])
                    for weight in (0, 0.5, 1))
                self.assertGreater(plain, 80)  # daylight: blue and green are far from all inks
                self.assertLess(half, 0.85 * plain)
                self.assertLess(whole, 0.65 * plain)
                self.assertLess(whole, 0.9 * half)

    def test_nothing_is_left_of_it(self):
        plain, weightless, whole = (png_pixels(self.generate(PROMPTS[0], *FAST, "--seed", "5", *lora)[0])
                                    for lora in ((), ("--lora", f"{LINOCUT}:0"), ("--lora", LINOCUT)))
        self.assertEqual(weightless, plain)
        self.assertNotEqual(whole, plain)

    def test_it_says_what_it_is(self):
        done = run("inspect", LINOCUT)
        self.assertEqual(done.returncode, 0, done.stderr)
        for word in ("LoRA", "rank", "Apache-2.0", "linocut"):
            self.assertIn(word, done.stdout)


class Edges(Case):
    def edges(self, picture):
        done = run("preprocess", "canny", picture, "--out-dir", self.folder / "edges")
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_its_folder_says_what_it_is(self):
        done = run("inspect", CONTROL_NET, "--no-hash")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("family      ControlNet", done.stdout)

    def test_pictures_follow_the_hint(self):
        for prompt, other in zip(PROMPTS, ("a white house at sunset", "a red car at sunset")):
            with self.subTest(prompt):
                hint = self.edges(self.generate(prompt, *FAST, "--seed", "5")[0])
                wanted = edges_of(hint)
                self.assertGreater(len(wanted), 300)
                options = [other, *FAST, "--seed", "6"]  # another seed: nothing but the hint leads there
                control = ["--control-net", CONTROL_NET, "--control-image", hint]
                free = agreement(wanted, edges_of(self.edges(self.generate(*options)[0])))
                led = agreement(wanted, edges_of(self.edges(self.generate(*options, *control)[0])))
                self.assertGreater(led, free + 0.3)
                self.assertGreater(led, 0.65)


if __name__ == "__main__":
    unittest.main()
