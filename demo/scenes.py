#!/usr/bin/env python3
"""Draws the pictures, and writes the captions, that the demo model learns from.

A scene is a handful of attributes (which land, what time of day, what is in
the sky, which object of which colour at which side).  ``sample_scene`` draws
one at random, ``draw`` turns it into a 128x128 picture and ``caption`` into an
English phrase that mentions some or all of its attributes.  All three take a
``numpy.random.Generator``, so the same seed always gives the same data set.

Shapes are drawn four times too large with Pillow, reduced to soft masks and
blended over a float canvas with numpy; nothing else is needed.

    python demo/scenes.py --grid scenes.png --count 16 --seed 0
"""

import argparse
import math
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = 128          # side of a picture in pixels
SUPERSAMPLE = 4     # shapes are drawn this many times larger, then reduced

LANDS = ("mountains", "hills", "sea", "desert", "city")
TIMES = ("dawn", "noon", "sunset", "night")
OBJECTS = ("none", "house", "tree", "car", "balloon", "flower", "boat")
COLORS = ("red", "blue", "yellow", "green", "white", "purple", "orange")
SIDES = ("left", "middle", "right")
SKY_FLAGS = ("sun", "moon", "stars", "clouds")

# One scene in ten (of those with an object) belongs to a combination of land,
# time, object and colour that training never sees; evaluation uses only those.
HELD_OUT_ONE_IN = 10

OBJECT_RGB = {
    "red": (222, 36, 40),
    "blue": (38, 92, 228),
    "yellow": (252, 220, 40),
    "green": (34, 168, 72),
    "white": (248, 248, 246),
    "purple": (146, 58, 200),
    "orange": (250, 130, 22),
}

# Sky colours from the zenith down to the horizon.
SKY_RGB = {
    "dawn": ((128, 146, 214), (236, 178, 208), (255, 226, 204)),
    "noon": ((36, 118, 226), (98, 176, 246), (206, 234, 252)),
    "sunset": ((84, 44, 118), (226, 84, 72), (255, 190, 76)),
    "night": ((6, 10, 36), (18, 28, 78), (48, 62, 122)),
}
# What daylight does to the colours of the land, per time of day.
LIGHT = {
    "dawn": (0.98, 0.86, 0.90),
    "noon": (1.0, 1.0, 1.0),
    "sunset": (0.90, 0.66, 0.56),
    "night": (0.30, 0.37, 0.62),
}
# Objects keep more of their own colour than the land does.
OBJECT_LIGHT = {
    "dawn": (1.0, 0.96, 0.97),
    "noon": (1.0, 1.0, 1.0),
    "sunset": (0.98, 0.93, 0.91),
    "night": (0.90, 0.90, 0.95),
}


@dataclass(frozen=True)
class Scene:
    """Every attribute of one picture."""

    land: str
    time: str
    sun: bool
    moon: bool
    stars: bool
    clouds: bool
    object: str
    color: str      # "" when there is no object
    side: str       # "" when there is no object


def is_held_out(scene):
    """Whether training must not see this combination of attributes."""
    if scene.object == "none":
        return False
    key = f"{scene.land}/{scene.time}/{scene.object}/{scene.color}"
    return zlib.crc32(key.encode()) % HELD_OUT_ONE_IN == 0


def _objects_for(land):
    """Boats need the sea, and a car cannot drive there."""
    if land == "sea":
        return ("house", "tree", "balloon", "flower", "boat", "boat", "boat")
    return ("house", "tree", "car", "balloon", "flower")


def sample_scene(rng, held_out=False):
    """A random sensible scene; held-out combinations only when asked for."""
    while True:
        land = str(rng.choice(LANDS))
        time = str(rng.choice(TIMES))
        sun = moon = stars = False
        if time == "night":
            kind = rng.random()
            moon = kind < 0.60
            stars = kind < 0.25 or 0.60 <= kind < 0.92
        else:
            sun = rng.random() < 0.55
        clouds = bool(rng.random() < (0.25 if time == "night" else 0.45))
        if rng.random() < 0.12 and not held_out:
            obj, color, side = "none", "", ""
        else:
            obj = str(rng.choice(_objects_for(land)))
            color = str(rng.choice(COLORS))
            side = str(rng.choice(SIDES))
        scene = Scene(land, time, bool(sun), bool(moon), bool(stars), clouds, obj, color, side)
        if is_held_out(scene) == held_out:
            return scene


# --------------------------------------------------------------------------
# Drawing
# --------------------------------------------------------------------------

_YY, _XX = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + 0.5


def _rgb(color):
    return np.asarray(color, np.float32) / 255.0


def _mix(a, b, t):
    return a + (b - a) * t


class Canvas:
    """A float RGB picture over which anti-aliased shapes are blended."""

    def __init__(self):
        self.pixels = np.zeros((SIZE, SIZE, 3), np.float32)

    def blend(self, mask, color, alpha=1.0, origin=(0, 0)):
        """Blend `color` (one colour, or one per pixel) where `mask` says so."""
        x, y = origin
        h, w = mask.shape
        area = self.pixels[y:y + h, x:x + w]
        color = np.asarray(color, np.float32)
        if color.ndim == 3 and color.shape[:2] != mask.shape:
            color = np.broadcast_to(color, (SIZE, SIZE, 3))[y:y + h, x:x + w]
        area += (color - area) * (mask * alpha)[..., None]

    def shape(self, box, paint, color, alpha=1.0, blur=0.0):
        """Draw with `paint(draw)` inside `box`; `draw` takes picture coordinates."""
        x0 = max(0, int(math.floor(box[0])) - 1)
        y0 = max(0, int(math.floor(box[1])) - 1)
        x1 = min(SIZE, int(math.ceil(box[2])) + 1)
        y1 = min(SIZE, int(math.ceil(box[3])) + 1)
        if x1 <= x0 or y1 <= y0:
            return
        big = Image.new("L", ((x1 - x0) * SUPERSAMPLE, (y1 - y0) * SUPERSAMPLE))
        paint(_Pen(big, x0, y0))
        small = big.reduce(SUPERSAMPLE)
        if blur:
            small = small.filter(ImageFilter.GaussianBlur(blur))
        self.blend(np.asarray(small, np.float32) / 255.0, color, alpha, (x0, y0))

    def polygon(self, points, color, alpha=1.0):
        xs = [p[0] for p in points]
        ys = [p[1] for p in points]
        self.shape((min(xs), min(ys), max(xs), max(ys)), lambda pen: pen.polygon(points), color, alpha)

    def ellipse(self, cx, cy, rx, ry, color, alpha=1.0, blur=0.0):
        pad = 3 * blur
        self.shape((cx - rx - pad, cy - ry - pad, cx + rx + pad, cy + ry + pad),
                   lambda pen: pen.ellipse(cx, cy, rx, ry), color, alpha, blur)

    def rectangle(self, x0, y0, x1, y1, color, alpha=1.0):
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color, alpha)

    def below(self, heights, color, alpha=1.0):
        """Fill everything under the curve `heights` (one y per column)."""
        mask = np.clip(_YY + 0.5 - heights[None, :], 0.0, 1.0)
        self.blend(mask, color, alpha)

    def glow(self, cx, cy, radius, color, strength):
        """Add a soft light around a point."""
        d2 = (_XX - cx) ** 2 + (_YY - cy) ** 2
        light = np.exp(-d2 / (radius * radius)) * strength
        self.pixels += (_rgb(color) - self.pixels) * light[..., None]

    def image(self):
        return (np.clip(self.pixels, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


class _Pen:
    """Pillow drawing in picture coordinates on a supersampled mask."""

    def __init__(self, image, x0, y0):
        self.draw = ImageDraw.Draw(image)
        self.x0, self.y0 = x0, y0

    def _map(self, x, y):
        return ((x - self.x0) * SUPERSAMPLE, (y - self.y0) * SUPERSAMPLE)

    def polygon(self, points, fill=255):
        self.draw.polygon([self._map(*p) for p in points], fill=fill)

    def ellipse(self, cx, cy, rx, ry, fill=255):
        self.draw.ellipse([self._map(cx - rx, cy - ry), self._map(cx + rx, cy + ry)], fill=fill)

    def line(self, points, width, fill=255):
        self.draw.line([self._map(*p) for p in points], fill=fill,
                       width=max(1, int(round(width * SUPERSAMPLE))), joint="curve")

    def rounded(self, x0, y0, x1, y1, radius, fill=255):
        self.draw.rounded_rectangle([self._map(x0, y0), self._map(x1, y1)],
                                    radius=radius * SUPERSAMPLE, fill=fill)


def _vertical(top, bottom, y0, y1):
    """A per-pixel colour that runs from `top` at y0 to `bottom` at y1."""
    t = np.clip((_YY - y0) / max(1e-3, y1 - y0), 0.0, 1.0)[..., None]
    return _mix(top, bottom, t)


def _waves(rng, base, amplitude, octaves=3, low=0.5, high=1.2):
    """A smooth random curve: one y per column."""
    x = np.arange(SIZE, dtype=np.float32) / SIZE
    y = np.full(SIZE, base, np.float32)
    for k in range(octaves):
        freq = rng.uniform(low, high) * (1.8 ** k)
        y += amplitude * (0.5 ** k) * np.sin(2 * math.pi * (freq * x + rng.random())).astype(np.float32)
    return y


def _sky(canvas, scene, horizon, rng):
    top, mid, low = (_rgb(c) for c in SKY_RGB[scene.time])
    shift = rng.normal(0.0, 0.012, 3).astype(np.float32)
    t = np.clip(_YY / horizon, 0.0, 1.0)[..., None]
    split = 0.58
    upper = _mix(top, mid, np.clip(t / split, 0, 1))
    canvas.pixels[:] = np.where(t < split, upper, _mix(mid, low, (t - split) / (1 - split))) + shift


def _stars(canvas, horizon, rng):
    for _ in range(int(rng.integers(34, 46))):
        x, y = rng.uniform(2, SIZE - 2), rng.uniform(2, horizon - 8)
        canvas.ellipse(x, y, *(2 * [rng.uniform(0.7, 1.15)]), _rgb((255, 250, 232)), rng.uniform(0.75, 1.0))
    for _ in range(int(rng.integers(5, 8))):
        x, y, r = rng.uniform(6, SIZE - 6), rng.uniform(5, horizon - 16), rng.uniform(3.0, 4.2)
        canvas.glow(x, y, 4.0, (200, 210, 255), 0.35)
        q = r * 0.22
        canvas.polygon([(x, y - r), (x + q, y - q), (x + r, y), (x + q, y + q),
                        (x, y + r), (x - q, y + q), (x - r, y), (x - q, y - q)], _rgb((255, 252, 240)))


def _luminary_place(scene, rng):
    """Where sun or moon stands: away from the object, low at dawn and sunset."""
    free = [s for s in SIDES if s != scene.side]
    side = str(rng.choice(free))
    x = {"left": 26, "middle": 64, "right": 102}[side] + rng.uniform(-7, 7)
    if scene.time in ("noon", "night"):
        y = rng.uniform(18, 26)
    elif scene.land in ("mountains", "city"):
        y = rng.uniform(20, 28)
    else:
        y = rng.uniform(40, 52)
    return x, y


def _sun(canvas, scene, x, y):
    disc, halo = {
        "dawn": ((255, 250, 214), (255, 236, 190)),
        "noon": ((255, 246, 150), (255, 252, 220)),
        "sunset": ((255, 226, 110), (255, 150, 60)),
    }[scene.time]
    canvas.glow(x, y, 34, halo, 0.45)
    canvas.glow(x, y, 18, halo, 0.60)
    canvas.ellipse(x, y, 11, 11, _rgb(disc))


def _moon(canvas, x, y, crescent, rng):
    canvas.glow(x, y, 26, (150, 170, 235), 0.42)
    light = _rgb((250, 246, 222))
    if crescent:
        def paint(pen):
            pen.ellipse(x, y, 11, 11)
            pen.ellipse(x + 5.5, y - 3.0, 9.5, 9.5, fill=0)
        canvas.shape((x - 12, y - 12, x + 12, y + 12), paint, light)
        return
    canvas.ellipse(x, y, 10.5, 10.5, light)
    for dx, dy, r in ((-3.5, -2.5, 2.4), (3.2, 2.0, 2.8), (-2.0, 4.8, 1.6)):
        canvas.ellipse(x + dx, y + dy, r, r, _rgb((214, 208, 190)), 0.8)


def _clouds(canvas, scene, rng, luminary):
    bright, shade = {
        "dawn": ((255, 240, 240), (226, 176, 204)),
        "noon": ((255, 255, 255), (204, 222, 242)),
        "sunset": ((255, 206, 160), (188, 88, 108)),
        "night": ((126, 138, 186), (66, 76, 128)),
    }[scene.time]
    count = int(rng.integers(3, 5))
    slots = rng.permutation(count)
    for i in range(count):
        cx = (slots[i] + rng.uniform(0.25, 0.75)) * SIZE / count
        cy = rng.uniform(12, 44)
        w = rng.uniform(13, 19)
        if luminary and abs(cx - luminary[0]) < w + 10 and abs(cy - luminary[1]) < 22:
            cx = luminary[0] + math.copysign(w + 10, cx - luminary[0])   # leave the light free
        puffs = []
        for k in range(5):
            t = (k - 2) / 2.0
            r = w * (0.46 - 0.16 * abs(t)) * rng.uniform(0.85, 1.15)
            puffs.append((cx + t * w * 0.86, cy - r * 0.55 + rng.uniform(-0.8, 0.8), r))
        bottom = cy + w * 0.10

        def paint(pen):
            for px, py, r in puffs:
                pen.ellipse(px, py, r, r * 0.9)
            pen.rounded(cx - w * 1.12, cy - w * 0.18, cx + w * 1.12, bottom, w * 0.12)
        top = min(py - r for _, py, r in puffs)
        canvas.shape((cx - w * 1.5, top - 2, cx + w * 1.5, bottom + 4), paint,
                     _vertical(_rgb(bright), _rgb(shade), top + 2, bottom), 0.94, blur=0.7)


def _hills(canvas, scene, rng, light, haze):
    greens = [_rgb((128, 186, 120)), _rgb((96, 172, 78)), _rgb((70, 150, 58))]
    for i, base in enumerate((70, 81, 96)):
        heights = _waves(rng, base + rng.uniform(-2, 2), (6.5, 6.0, 4.0)[i], 2, 0.8, 1.5)
        top = _mix(greens[i] * light, haze, (0.42, 0.16, 0.0)[i])
        canvas.below(heights, _vertical(top * 1.10, top * 0.74, base - 8, base + 34))
        if i == 2:
            continue
        for _ in range(int(rng.integers(3, 6))):       # round bushes on the slopes
            x = rng.uniform(3, SIZE - 3)
            r = rng.uniform(1.8, 2.8)
            y = heights[int(x)] + rng.uniform(3, 9)
            canvas.ellipse(x, y, r * 1.2, r, top * 0.68)


def _mountains(canvas, scene, rng, light, haze):
    back = [(-4, 128)]
    x = -4.0
    while x < SIZE + 8:
        back += [(x, rng.uniform(62, 68)), (x + 9, rng.uniform(48, 58))]
        x += rng.uniform(18, 24)
    back += [(SIZE + 8, 66), (SIZE + 8, 128)]
    canvas.polygon(back, _mix(_rgb((120, 140, 176)) * light, haze, 0.45))

    rock = _rgb((112, 118, 138)) * light
    dark = _rgb((70, 76, 100)) * light
    snow = _mix(_rgb((250, 252, 255)) * light, _rgb((250, 252, 255)), 0.25)
    snow_dark = _mix(snow, _rgb((130, 150, 196)) * light, 0.55)
    jitter = rng.uniform(-8, 8)
    peaks = [(18 + jitter, 52), (110 + jitter, 50), (64 + jitter, 40)]
    for px, py in peaks:
        px += rng.uniform(-4, 4)
        py += rng.uniform(-4, 4)
        base = 102
        half = (base - py) * rng.uniform(0.66, 0.78)
        bend = rng.uniform(-3, 3)
        canvas.polygon([(px, py), (px - half, base), (px + bend, base)], rock)
        canvas.polygon([(px, py), (px + half, base), (px + bend, base)], dark)
        d = (base - py) * 0.36                              # depth of the snow cap
        s = half / (base - py)
        left = [(px, py), (px - s * d, py + d), (px - s * d * 0.66, py + d * 0.72),
                (px - s * d * 0.36, py + d * 1.04), (px - 0.5, py + d * 0.70), (px, py + d * 0.72)]
        right = [(px, py), (px + s * d, py + d), (px + s * d * 0.62, py + d * 0.70),
                 (px + s * d * 0.30, py + d * 0.98), (px, py + d * 0.72)]
        canvas.polygon(left, snow)
        canvas.polygon(right, snow_dark)
    meadow = _rgb((96, 138, 92)) * light
    heights = _waves(rng, 95, 2.4, 2)
    canvas.below(heights, _vertical(meadow * 1.08, meadow * 0.66, 93, 128))
    firs = _rgb((38, 84, 66)) * light
    for _ in range(int(rng.integers(7, 11))):               # a distant row of small firs
        x = rng.uniform(2, SIZE - 2)
        y = heights[int(x)] + 1.5
        h = rng.uniform(5, 8)
        canvas.polygon([(x, y - h), (x - h * 0.34, y), (x + h * 0.34, y)], firs)


def _sea(canvas, scene, rng, light, haze, luminary):
    horizon = 70
    surface = np.full(SIZE, horizon, np.float32)
    near = _rgb((14, 74, 140)) * light
    far = _mix(_rgb((52, 150, 204)) * light, haze, 0.34)
    canvas.below(surface, _vertical(far, near, horizon, SIZE))
    if luminary:
        lx, ly = luminary
        glitter = {"dawn": (255, 232, 214), "noon": (255, 252, 226),
                   "sunset": (255, 196, 104), "night": (214, 222, 250)}[scene.time]
        for y in np.arange(horizon + 2, SIZE, 3.4):
            w = 3 + (y - horizon) * 0.14 + rng.uniform(-1, 3)
            canvas.ellipse(lx + rng.uniform(-2, 2), y, w, 0.95, _rgb(glitter), 0.72)
    crest = _mix(far, np.ones(3, np.float32), 0.35)
    for k in range(16):
        y = horizon + 3 + (SIZE - horizon - 4) * ((k + rng.random()) / 16) ** 1.2
        w = 3 + (y - horizon) * 0.16
        x = rng.uniform(0, SIZE)
        canvas.ellipse(x, y, w, 0.5 + (y - horizon) * 0.014, crest, 0.55)


def _desert(canvas, scene, rng, light, haze):
    sand = [_rgb((236, 200, 138)), _rgb((232, 184, 108)), _rgb((222, 164, 84))]
    for i, base in enumerate((72, 82, 98)):
        x = np.arange(SIZE, dtype=np.float32)
        period = rng.uniform(64, 92) - 8 * i
        phase = ((x / period + rng.random()) % 1.0)
        crest = rng.uniform(0.60, 0.72)
        saw = np.where(phase < crest, phase / crest, (1 - phase) / (1 - crest))
        ridge = (0.5 - 0.5 * np.cos(math.pi * saw)).astype(np.float32)
        heights = base + 4 - ridge * (10, 11, 8)[i]
        color = _mix(sand[i] * light, haze, (0.30, 0.10, 0.0)[i])
        canvas.below(heights, _vertical(color * 1.06, color * 0.84, base - 8, base + 34))
        # The lee side: a shaded triangle whose edge runs down and away from the crest.
        depth = np.clip(_YY - heights[None, :], 0.0, None)
        start = crest + depth * (1.0 - crest) / (24, 28, 30)[i]
        lee = np.clip((phase[None, :] - start) / 0.025, 0, 1) * np.clip((1.0 - phase[None, :]) / 0.03, 0, 1)
        mask = np.clip(_YY + 0.5 - heights[None, :], 0, 1) * lee * np.clip(1.0 - depth / 34, 0, 1)
        canvas.blend(mask.astype(np.float32), color * _rgb((178, 138, 128)), 0.85)


def _city(canvas, scene, rng, light, haze):
    lit = scene.time in ("night", "sunset")
    for layer in range(2):
        x = rng.uniform(-8, 0)
        while x < SIZE:
            w = rng.uniform(13, 19) if layer else rng.uniform(10, 15)
            top = rng.uniform(56, 80) if layer else rng.uniform(44, 62)
            hue = ((136, 146, 168), (168, 150, 146), (122, 136, 150), (156, 160, 172))[int(rng.integers(4))]
            color = _mix(_rgb(hue) * light, haze, 0.08 if layer else 0.48)
            canvas.rectangle(x, top, x + w, 110, _vertical(color, color * 0.78, top, 108))
            if not layer:
                if rng.random() < 0.3:
                    canvas.rectangle(x + w / 2 - 0.6, top - 6, x + w / 2 + 0.6, top, color)
                x += w + rng.uniform(-1, 2)
                continue
            canvas.rectangle(x + w - 2.5, top, x + w, 110, color * 0.72, 0.7)
            columns = 3 if w > 15.5 else 2
            step = (w - 3) / columns
            on, off = [], []
            for row in range(int((106 - top - 3) / 6)):
                for col in range(columns):
                    wx = x + 1.4 + col * step
                    wy = top + 3 + row * 6
                    box = [(wx, wy), (wx + step * 0.62, wy), (wx + step * 0.62, wy + 3.2), (wx, wy + 3.2)]
                    (on if lit and rng.random() < 0.66 else off).append(box)
            area = (x, top, x + w, 110)
            glass = _rgb((190, 220, 240)) * light if not lit else color * 0.6
            canvas.shape(area, lambda pen: [pen.polygon(b) for b in off], glass)
            canvas.shape(area, lambda pen: [pen.polygon(b) for b in on], _rgb((255, 218, 112)))
            x += w + rng.uniform(0.5, 3)
    road = _rgb((92, 94, 104)) * _mix(light, np.ones(3, np.float32), 0.12)
    canvas.below(np.full(SIZE, 105, np.float32), _vertical(road * 1.1, road * 0.85, 105, 128))
    canvas.rectangle(0, 103.4, SIZE, 105.6, _rgb((182, 178, 172)) * light)
    shift = rng.uniform(0, 22)
    for k in range(-1, 7):
        canvas.rectangle(k * 22 + shift, 118.6, k * 22 + shift + 11, 120.4, _rgb((240, 234, 210)) * _mix(light, np.ones(3, np.float32), 0.3))


# ------------------------------------------------------------------ objects

def _shadow(canvas, x, y, w):
    canvas.ellipse(x, y, w, 2.6, _rgb((10, 14, 26)), 0.42, blur=0.8)


def _house(canvas, x, y, s, c, dark, scene):
    lit = scene.time in ("night", "sunset")
    _shadow(canvas, x, y, 21 * s)
    w, h, roof = 17.5 * s, 21 * s, 15 * s
    canvas.rectangle(x + 8 * s, y - h - roof * 0.95, x + 12.5 * s, y - h - 2, _rgb((120, 70, 60)))
    canvas.rectangle(x - w, y - h, x + w, y, _vertical(c, dark, y - h * 0.6, y + h * 0.5))
    canvas.polygon([(x - w - 4 * s, y - h), (x, y - h - roof), (x + w + 4 * s, y - h)], _rgb((88, 62, 58)))
    canvas.polygon([(x - w, y - h), (x + w, y - h), (x + w, y - h + 2 * s), (x - w, y - h + 2 * s)], dark)
    canvas.rectangle(x - 3.6 * s, y - 12 * s, x + 3.6 * s, y, _rgb((72, 46, 38)))
    pane = _rgb((255, 232, 140)) if lit else _rgb((196, 228, 246))
    for side in (-1, 1):
        wx = x + side * 10.4 * s
        canvas.rectangle(wx - 4 * s, y - 16 * s, wx + 4 * s, y - 8 * s, _rgb((60, 44, 44)))
        canvas.rectangle(wx - 3.1 * s, y - 15.1 * s, wx + 3.1 * s, y - 8.9 * s, pane)


def _tree(canvas, x, y, s, c, dark, scene):
    _shadow(canvas, x, y, 15 * s)
    canvas.polygon([(x - 3.6 * s, y), (x + 3.6 * s, y), (x + 2.4 * s, y - 22 * s), (x - 2.4 * s, y - 22 * s)],
                   _rgb((98, 66, 44)))
    puffs = [(-10, -22, 9.5), (10, -22, 9.5), (0, -20, 9.5), (-6, -32, 10), (7, -32, 9.5), (0, -39, 8.5)]
    area = (x - 21 * s, y - 50 * s, x + 21 * s, y - 9 * s)

    def crown(dx, dy, shrink):
        return lambda pen: [pen.ellipse(x + (px + dx) * s, y + (py + dy) * s, r * s * shrink, r * s * shrink)
                            for px, py, r in puffs]
    canvas.shape(area, crown(0, 0, 1.0), dark)
    canvas.shape(area, crown(-0.7, -1.2, 0.88), c)
    canvas.shape(area, crown(-2.4, -3.4, 0.42), _mix(c, np.ones(3, np.float32), 0.25), 0.7, blur=0.6)


def _car(canvas, x, y, s, c, dark, scene):
    _shadow(canvas, x, y, 23 * s)
    area = (x - 24 * s, y - 24 * s, x + 24 * s, y)
    canvas.polygon([(x - 14 * s, y - 13 * s), (x - 8.5 * s, y - 22.5 * s), (x + 7 * s, y - 22.5 * s),
                    (x + 14.5 * s, y - 13 * s)], c)
    canvas.shape(area, lambda pen: pen.rounded(x - 22.5 * s, y - 14.5 * s, x + 22.5 * s, y - 3.5 * s, 4.5 * s),
                 _vertical(_mix(c, np.ones(3, np.float32), 0.12), dark, y - 14 * s, y - 2 * s))
    glass = _rgb((188, 222, 240)) if scene.time != "night" else _rgb((116, 140, 178))
    canvas.polygon([(x - 11 * s, y - 13.6 * s), (x - 7.2 * s, y - 20.4 * s), (x - 1.2 * s, y - 20.4 * s),
                    (x - 1.2 * s, y - 13.6 * s)], glass)
    canvas.polygon([(x + 1.2 * s, y - 13.6 * s), (x + 1.2 * s, y - 20.4 * s), (x + 6 * s, y - 20.4 * s),
                    (x + 11.4 * s, y - 13.6 * s)], glass)
    canvas.ellipse(x + 20.6 * s, y - 10 * s, 1.9 * s, 1.9 * s, _rgb((255, 244, 180)))
    for wx in (-12.5, 12.5):
        canvas.ellipse(x + wx * s, y - 4 * s, 5.2 * s, 5.2 * s, _rgb((30, 30, 36)))
        canvas.ellipse(x + wx * s, y - 4 * s, 2.3 * s, 2.3 * s, _rgb((190, 192, 200)))


def _balloon(canvas, x, y, s, c, dark, scene):
    """A hot-air balloon; (x, y) is the middle of the envelope."""
    r = 17.5 * s
    envelope = []
    for k in range(48):
        a = 2 * math.pi * k / 48
        px, py = math.sin(a), -math.cos(a)
        squeeze = 1.0 if py < 0.1 else 1.0 - 0.52 * ((py - 0.1) / 0.9) ** 1.3
        envelope.append((x + px * r * squeeze, y + py * r * (1.0 if py < 0 else 1.22)))
    canvas.polygon(envelope, c)

    def paint(pen):
        pen.polygon(envelope)
    band = 1.0 - np.clip(np.abs(_XX - (x - 0.30 * r)) / (0.9 * r), 0, 1)
    shade = _mix(dark, _mix(c, np.ones(3, np.float32), 0.30), np.clip(band * 1.25, 0, 1)[..., None])
    canvas.shape((x - r, y - r, x + r, y + r * 1.25), paint, shade, 0.72)
    for k in (-0.52, 0.0, 0.52):
        gore = [(x + k * r * math.cos(a * 0.5) * (1 - 0.45 * max(0, math.sin(a)) ** 1.3), y + r * (1.0 if a < 0 else 1.2) * math.sin(a))
                for a in np.linspace(-1.5, 1.5, 13)]
        canvas.shape((x - r, y - r, x + r, y + r * 1.25), lambda pen: pen.line(gore, 0.9), dark, 0.55)
    by = y + r * 1.22
    canvas.shape((x - 6 * s, by - 2, x + 6 * s, by + 8 * s),
                 lambda pen: [pen.line([(x + k * 5.6 * s, by - 1), (x + k * 3.6 * s, by + 7 * s)], 0.7) for k in (-1, 1)],
                 _rgb((64, 46, 40)))
    canvas.shape((x - 5 * s, by + 6 * s, x + 5 * s, by + 13 * s),
                 lambda pen: pen.rounded(x - 4.2 * s, by + 6.2 * s, x + 4.2 * s, by + 12.6 * s, 1.4 * s), _rgb((126, 82, 46)))


def _flower(canvas, x, y, s, c, dark, scene):
    stem = _rgb((36, 112, 50)) * _mix(_rgb((255, 255, 255)), _rgb((150, 160, 200)), 0.0 if scene.time != "night" else 1.0)
    cy = y - 31 * s
    _shadow(canvas, x, y, 9 * s)
    canvas.shape((x - 4 * s, cy, x + 4 * s, y), lambda pen: pen.line([(x, cy), (x + 1.5 * s, y - 14 * s), (x, y)], 2.8 * s), stem)
    for side in (-1, 1):
        canvas.polygon([(x, y - 4 * s), (x + side * 6 * s, y - 13 * s), (x + side * 13 * s, y - 14.5 * s),
                        (x + side * 9.5 * s, y - 7 * s)], stem)
    area = (x - 19 * s, cy - 19 * s, x + 19 * s, cy + 19 * s)
    turn = 0.3

    def petals(radius, distance):
        return lambda pen: [pen.ellipse(x + distance * s * math.cos(turn + k * math.pi / 3),
                                        cy + distance * s * math.sin(turn + k * math.pi / 3),
                                        radius * s, radius * s) for k in range(6)]
    canvas.shape(area, petals(7.6, 10.2), dark)
    canvas.shape(area, petals(6.5, 10.2), c)
    canvas.ellipse(x, cy, 6.2 * s, 6.2 * s, _rgb((96, 60, 30)))
    canvas.ellipse(x, cy, 4.4 * s, 4.4 * s, _rgb((190, 128, 48)))


def _boat(canvas, x, y, s, c, dark, scene):
    canvas.ellipse(x, y + 4 * s, 19 * s, 3.4 * s, _mix(c, _rgb((20, 60, 110)), 0.5), 0.55, blur=0.9)
    canvas.rectangle(x - 0.9 * s, y - 42 * s, x + 0.9 * s, y - 6 * s, _rgb((84, 60, 46)))
    canvas.polygon([(x + 2.2 * s, y - 41 * s), (x + 2.2 * s, y - 9.5 * s), (x + 19 * s, y - 9.5 * s)], c)
    canvas.polygon([(x - 2.2 * s, y - 36 * s), (x - 2.2 * s, y - 9.5 * s), (x - 15 * s, y - 9.5 * s)],
                   _mix(c, np.ones(3, np.float32), 0.22))
    canvas.polygon([(x - 20 * s, y - 7.5 * s), (x + 21 * s, y - 7.5 * s), (x + 14.5 * s, y + 2.5 * s), (x - 14 * s, y + 2.5 * s)],
                   _mix(c, dark, 0.7))
    canvas.polygon([(x - 20 * s, y - 7.5 * s), (x + 21 * s, y - 7.5 * s), (x + 20 * s, y - 5.6 * s), (x - 18.9 * s, y - 5.6 * s)],
                   _mix(c, np.ones(3, np.float32), 0.45))


_PAINTERS = {"house": _house, "tree": _tree, "car": _car, "balloon": _balloon, "flower": _flower, "boat": _boat}


def draw(scene, rng):
    """The picture of `scene` as a (128, 128, 3) uint8 array; `rng` varies the details."""
    canvas = Canvas()
    light = np.asarray(LIGHT[scene.time], np.float32)
    haze = _rgb(SKY_RGB[scene.time][2])
    if scene.time == "night":
        haze = haze * 0.8
    horizon = 72.0
    _sky(canvas, scene, horizon, rng)
    luminary = None
    if scene.stars:
        _stars(canvas, horizon - 8, rng)
    if scene.sun or scene.moon:
        luminary = _luminary_place(scene, rng)
        if scene.sun:
            _sun(canvas, scene, *luminary)
        else:
            _moon(canvas, *luminary, rng.random() < 0.5, rng)
    if scene.clouds:
        _clouds(canvas, scene, rng, luminary)
    if scene.land == "hills":
        _hills(canvas, scene, rng, light, haze)
    elif scene.land == "mountains":
        _mountains(canvas, scene, rng, light, haze)
    elif scene.land == "sea":
        _sea(canvas, scene, rng, light, haze, luminary)
    elif scene.land == "desert":
        _desert(canvas, scene, rng, light, haze)
    else:
        _city(canvas, scene, rng, light, haze)

    if scene.object != "none":
        x = {"left": 27, "middle": 64, "right": 101}[scene.side] + rng.uniform(-3.5, 3.5)
        s = rng.uniform(0.95, 1.10)
        y = rng.uniform(111, 117)
        if scene.object == "balloon":
            y = rng.uniform(32, 42)
        elif scene.object == "boat":
            y = rng.uniform(100, 110)
        elif scene.land == "sea":
            sand = _rgb((232, 206, 150)) * _mix(light, np.ones(3, np.float32), 0.25)
            canvas.ellipse(x, y + 3.5, 29, 7.2, _mix(sand, _rgb((40, 110, 170)), 0.35), 0.8)
            canvas.ellipse(x, y + 2.2, 26, 6.2, _vertical(sand, sand * 0.78, y - 4, y + 9))
        c = _rgb(OBJECT_RGB[scene.color]) * np.asarray(OBJECT_LIGHT[scene.time], np.float32)
        _PAINTERS[scene.object](canvas, x, y, s, c, c * 0.72, scene)
    return canvas.image()


# --------------------------------------------------------------------------
# Captions
# --------------------------------------------------------------------------

_LAND_WORDS = {
    "mountains": ("mountains", "snowy mountains", "the mountains", "high mountains", "mountain peaks",
                  "grey mountains", "snowy peaks", "rocky mountains"),
    "hills": ("green hills", "hills", "rolling hills", "the hills", "grassy hills", "soft green hills", "green meadows"),
    "sea": ("the sea", "a blue sea", "the ocean", "a calm sea", "the blue ocean", "the water", "sea"),
    "desert": ("the desert", "sand dunes", "a sandy desert", "desert dunes", "golden dunes", "a desert", "golden sand"),
    "city": ("the city", "a city", "a city skyline", "tall buildings", "a big city", "skyscrapers", "the town"),
}
_TIME_WORDS = {
    "dawn": ("at dawn", "at sunrise", "in the morning", "early in the morning", "at daybreak"),
    "noon": ("at noon", "at midday", "by day", "during the day", "in daylight"),
    "sunset": ("at sunset", "at dusk", "in the evening", "at sundown"),
    "night": ("at night", "at midnight", "in the night", "late at night"),
}
_TIME_TAGS = {
    "dawn": ("dawn", "sunrise", "morning"), "noon": ("noon", "day", "midday", "daylight"),
    "sunset": ("sunset", "dusk", "evening"), "night": ("night", "midnight", "night scene"),
}
_SKY_WORDS = {
    "sun": ("under the sun", "with a bright sun", "and the sun in the sky", "with the sun shining", "under a shining sun"),
    "moon": ("under the moon", "with a bright moon", "and the moon in the sky", "in the moonlight", "with the moon above"),
    "stars": ("under the stars", "with a starry sky", "and many stars", "under a starry sky", "with stars in the sky"),
    "clouds": ("with clouds", "under a cloudy sky", "and some clouds", "with white clouds in the sky", "with fluffy clouds"),
    "clear": ("under a clear sky", "with a clear sky", "with no clouds", "and a cloudless sky"),
}
_SKY_TAGS = {"sun": ("sun", "sunny"), "moon": ("moon", "moonlight"), "stars": ("stars", "starry sky"),
             "clouds": ("clouds", "cloudy", "cloudy sky"), "clear": ("clear sky", "no clouds")}
_SIDE_WORDS = {
    "left": ("on the left", "to the left", "on the left side", "at the left"),
    "right": ("on the right", "to the right", "on the right side", "at the right"),
    "middle": ("in the middle", "in the center", "in the centre", "at the center"),
}
_OBJECT_WORDS = {
    "house": ("house", "house", "cottage", "home"),
    "tree": ("tree", "tree", "round tree"),
    "car": ("car", "car", "automobile"),
    "balloon": ("balloon", "balloon", "hot air balloon", "hot-air balloon"),
    "flower": ("flower", "flower", "big flower", "blossom"),
    "boat": ("boat", "boat", "sailboat", "sailing boat", "ship"),
}
_COLOR_WORDS = {"purple": ("purple", "purple", "violet")}
_PREFIXES = ("", "", "", "", "", "", "a picture of ", "a painting of ", "an illustration of ", "a drawing of ",
             "an image of ", "a view of ")


def _relation(obj, land, rng):
    if obj == "balloon":
        words = ("over", "above", "over", "above", "flying over", "floating above", "in the sky over", "high over")
    elif land == "sea":
        words = ("on", "at", "by", "in") if obj != "boat" else ("on", "on", "in", "sailing on", "floating on", "at")
    elif obj == "car":
        words = ("in front of", "in", "on", "near", "driving through", "by")
    else:
        words = ("in front of", "in", "on", "near", "beside", "by")
    return str(rng.choice(words))


def _article(phrase):
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def caption(scene, rng, thorough=False):
    """An English caption of `scene` and the set of attributes it mentions.

    Attributes are left out now and then, so that a model learns to fill in
    what a prompt does not say.  `thorough` leaves none out but the sky, which
    keeps its chance; evaluation prompts are written that way.
    """
    def keep(chance):
        return thorough or rng.random() < chance

    def one(words):
        return str(words[int(rng.integers(len(words)))])

    said = set()
    obj = side = land = time = ""
    if scene.object != "none" and keep(0.95):
        noun = one(_OBJECT_WORDS[scene.object])
        said.add("object")
        if keep(0.90):
            adjective, _, rest = noun.partition(" ") if noun.startswith(("big ", "round ")) else ("", "", noun)
            noun = f"{adjective} {one(_COLOR_WORDS.get(scene.color, (scene.color,)))} {rest}".strip()
            said.add("color")
        obj = noun
        if rng.random() < 0.75:
            side = one(_SIDE_WORDS[scene.side])
            said.add("side")
    if keep(0.92) or not obj:
        land = one(_LAND_WORDS[scene.land])
        said.add("land")
    with_time = keep(0.90)
    if with_time:
        said.add("time")
    sky = []
    for flag in ("sun", "moon", "stars"):
        if getattr(scene, flag) and rng.random() < 0.65:
            sky.append(flag)
            said.add(flag)
    if scene.clouds:
        if rng.random() < 0.70:
            sky.append("clouds")
            said.add("clouds")
    elif not sky and rng.random() < 0.20:
        sky.append("clear")
        said.add("clouds")
    rng.shuffle(sky)

    style = rng.random()
    if style < 0.14:                                        # a list of tags
        tags = [t for t in (obj, land.removeprefix("the ").removeprefix("a ")) if t]
        if side:
            tags.append(scene.side if rng.random() < 0.5 else side)
        if with_time:
            tags.append(one(_TIME_TAGS[scene.time]))
        tags += [one(_SKY_TAGS[s]) for s in sky]
        rng.shuffle(tags)
        return ", ".join(tags), said

    if with_time:
        time = one(_TIME_WORDS[scene.time])
    phrases = [one(_SKY_WORDS[s]) for s in sky]
    if obj:
        thing = _article(obj) if rng.random() < 0.9 else obj
        relation = _relation(scene.object, scene.land, rng)
        if land and style < 0.70:
            core = f"{thing} {relation} {land}"
            if side:
                core = f"{thing} {side} {relation} {land}" if rng.random() < 0.4 else f"{core} {side}"
        elif land:
            core = f"{land} with {thing}" + (f" {side}" if side else "")
        else:
            core = thing + (f" {side}" if side else "")
    else:
        core = land
    tail = list(phrases)
    if time and rng.random() < 0.22:
        return f"{one(_PREFIXES) if rng.random() < 0.3 else ''}{time}, {' '.join([core] + tail)}".strip(), said
    if time:
        tail.insert(0 if rng.random() < 0.6 else len(tail), time)
    joiner = ", " if rng.random() < 0.15 else " "
    return one(_PREFIXES) + joiner.join([core] + tail), said


# --------------------------------------------------------------------------
# Command line
# --------------------------------------------------------------------------

def grid(pictures, columns):
    """Tile (n, h, w, 3) pictures with a thin white gap."""
    n, h, w, _ = pictures.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (h + 2) - 2, columns * (w + 2) - 2, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = (i // columns) * (h + 2), (i % columns) * (w + 2)
        sheet[y:y + h, x:x + w] = picture
    return sheet


def main():
    parser = argparse.ArgumentParser(description="Draw a grid of random scenes and print their captions.")
    parser.add_argument("--grid", default="scenes.png", help="where to write the picture")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    pictures = []
    for _ in range(args.count):
        scene = sample_scene(rng)
        pictures.append(draw(scene, rng))
        print(caption(scene, rng)[0])
    Image.fromarray(grid(np.stack(pictures), args.columns)).save(args.grid)


if __name__ == "__main__":
    main()
