"""Makes the goldens of edge pictures: tests/goldens/edges.

    python3 tests/goldens/make_edges.py

picture.png, 61 × 47, drawn with noise; canny_*.png: what cv2.Canny makes of it, index.json lists the options;
lineart.png: the "standard lineart" of control networks, by its published few lines with cv2's blur.
"""

import json
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent / "edges"


def lineart(picture, sigma, threshold):
    x = picture.astype(np.float32)
    intensity = np.min(cv2.GaussianBlur(x, (0, 0), sigma) - x, axis=2).clip(0, 255)
    intensity /= max(16, np.median(intensity[intensity > threshold]))
    return (intensity * 127).clip(0, 255).astype(np.uint8)


def main():
    HERE.mkdir(exist_ok=True)
    random = np.random.default_rng(3)
    picture = np.full((47, 61, 3), 220, np.uint8)
    cv2.circle(picture, (20, 22), 13, (40, 90, 200), -1)
    cv2.rectangle(picture, (35, 8), (55, 30), (20, 160, 60), 2)
    cv2.line(picture, (3, 44), (58, 34), (90, 30, 120), 1)
    picture = np.clip(picture.astype(int) + random.normal(0, 9, picture.shape), 0, 255).astype(np.uint8)
    gradient = np.linspace(0, 60, 61).astype(int)
    picture = np.clip(picture.astype(int) - gradient[None, :, None], 0, 255).astype(np.uint8)
    cv2.imwrite(str(HERE / "picture.png"), picture[:, :, ::-1])
    index = []
    for low, high, l2 in ((100, 200, False), (100, 200, True), (50, 120.7, False), (30.5, 60, True), (200, 100, False),
                          (0, 0, False)):
        name = f"canny_{len(index)}.png"
        cv2.imwrite(str(HERE / name), cv2.Canny(picture, low, high, L2gradient=l2))
        index.append({"file": name, "low_threshold": low, "high_threshold": high, "l2_gradient": l2})
    (HERE / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    cv2.imwrite(str(HERE / "lineart.png"), lineart(picture, 6.0, 8))


if __name__ == "__main__":
    main()
