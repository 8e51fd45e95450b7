"""Makes tests/goldens/sampling/{solvers,sigma_schedules,brownian,diffusers_solvers,philox}.json.

    python tests/goldens/make_solvers.py        needs numpy, torch (CPU), torchsde and diffusers

solvers: samplers by the rules of ComfyUI, written here once more in float64 from the papers' formulas, in other terms
than in src/sampling. The network is a formula of its input and timestep that the test has too:
    eps = 0.8 * input + 0.3 * cos(2 * input + pace * timestep + j), j the index of the element, pace 0.004, but 0 for
    dpm_adaptive: rounding to whole timesteps would make its step sizes jump;
    of the unconditional branch: eps + 0.1 * sin(3 * input).
The first sample is torch.randn of generator 7 times the first factor, Gaussian noise of the steps that of generator 13,
Brownian noise torchsde's of seed 13. Stored: the sample after every step as hexadecimal float32 bits.
"""

import json
import math
import pathlib
import warnings

import diffusers
import numpy as np
import torch
import torchsde

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()
torch.set_num_threads(1)
FOLDER = pathlib.Path(__file__).parent / "sampling"
SHAPE = (2, 2, 1, 3)
SD15 = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}


def hexed(array):
    return np.ascontiguousarray(array, dtype=">f4").tobytes().hex()


# ---- noise levels ----------------------------------------------------------------------------------------------------


class Network:
    """Levels of the trained timesteps, and the toy prediction."""

    def __init__(self, config):
        root = torch.linspace(config["beta_start"] ** 0.5, config["beta_end"] ** 0.5, config["num_train_timesteps"])
        bar = torch.cumprod(1 - root**2, 0)
        self.table = (((1 - bar) / bar) ** 0.5).numpy().astype(np.float64)
        self.logs = np.log(self.table)
        self.logs32 = torch.tensor(self.table, dtype=torch.float32).log()
        self.pace = 0.004
        self.last = len(self.table) - 1
        self.low, self.high = self.table[0], self.table[-1]
        self.prediction = config.get("prediction_type", "epsilon")

    def at(self, t):
        return math.exp(np.interp(t, np.arange(self.last + 1), self.logs))

    def timestep(self, sigma):
        """The nearest in ln sigma, in float32 as ComfyUI has it."""
        near = (torch.tensor(sigma, dtype=torch.float32).log() - self.logs32).abs()
        return int(near.argmin())

    def __call__(self, x, sigma):
        """The clean sample, and the unconditional one."""
        c = 1 / math.sqrt(1 + sigma * sigma)
        y = x * c
        j = np.arange(x.size).reshape(x.shape)
        out = 0.8 * y + 0.3 * np.cos(2 * y + self.pace * self.timestep(sigma) + j)
        other = out + 0.1 * np.sin(3 * y)
        if self.prediction == "v_prediction":
            return [c * y - sigma * c * o for o in (out, other)]
        return [x - sigma * o for o in (out, other)]


def beta_points(u, a=0.6):
    """Quantiles of Beta(a, a): with x = sin(w)^2 the density is (sin w cos w)^(2a - 1)."""
    w = np.linspace(0, math.pi / 2, 2_000_001)
    density = (np.sin(w) * np.cos(w)) ** (2 * a - 1)
    mass = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.sin(np.interp(u, mass / mass[-1], w)) ** 2


ALIGNED = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]


def levels(name, net, n):
    u = np.arange(n) / max(n - 1, 1)
    if name == "simple":
        out = [net.table[-1 - int(i * len(net.table) / n)] for i in range(n)]
    elif name == "normal":
        out = [net.at(np.float32(net.last * (1 - v))) for v in u]
    elif name == "sgm_uniform":
        out = [net.at(np.float32(net.last * (1 - i / n))) for i in range(n)]
    elif name == "ddim_uniform":
        out = net.table[1 :: max(len(net.table) // n, 1)][::-1]
    elif name == "karras":
        out = ((1 - u) * net.high ** (1 / 7) + u * net.low ** (1 / 7)) ** 7
    elif name in ("exponential", "polyexponential"):
        out = net.high ** (1 - u) * net.low**u
    elif name == "beta":
        t = np.rint(beta_points(1 - np.arange(n) / n) * net.last).astype(int)
        out = [net.table[k] for i, k in enumerate(t) if i == 0 or k != t[i - 1]]
    elif name == "linear_quadratic":
        if n == 1:
            out = [net.high]
        else:
            # the line through (0, 0) and (m, 0.025), then the parabola with its slope at m, through 1 at n
            m = n // 2
            slope = 0.025 / m
            bend = (1 - 0.025 - slope * (n - m)) / (n - m) ** 2
            done = [slope * i if i < m else 0.025 + slope * (i - m) + bend * (i - m) ** 2 for i in range(n)]
            out = [(1 - d) * net.high for d in done]
    elif name == "kl_optimal":
        out = np.tan((1 - u) * math.atan(net.high) + u * math.atan(net.low))
    elif name == "align_your_steps":
        out = np.exp(np.interp(np.arange(n) / n * 10, np.arange(11), np.log(ALIGNED)))
    elif name == "turbo":
        out = [net.at(1000 - 100 * i - 1) for i in range(n)]
    return np.float32(np.concatenate([out, [0.0]])).astype(np.float64)


SCHEDULES = (
    "simple sgm_uniform karras exponential ddim_uniform beta normal linear_quadratic kl_optimal polyexponential "
    "align_your_steps turbo"
).split()

# ---- samplers --------------------------------------------------------------------------------------------------------


def parts(a, b, eta):
    """Deviation kept and deviation added when going from a to b with the variance of the posterior, times eta^2."""
    if eta == 0:
        return b, 0.0
    up = min(b, eta * b * math.sqrt(max(0.0, 1 - (b / a) ** 2)))
    return math.sqrt(max(0.0, b * b - up * up)), up


def phi(k, z):
    """(e^z - sum of the first k terms) / z^k"""
    if k == 0:
        return math.exp(z)
    return (phi(k - 1, z) - 1 / math.factorial(k - 1)) / z


def quad(f, a, b, n=64):
    nodes, weights = np.polynomial.legendre.leggauss(n)
    mid, half = (a + b) / 2, (b - a) / 2
    return half * sum(w * f(mid + half * v) for v, w in zip(nodes, weights))


def basis(nodes, j, t):
    out = 1.0
    for k, node in enumerate(nodes):
        if k != j:
            out *= (t - node) / (nodes[j] - node)
    return out


class Run:
    def __init__(self, net, x, s, noise, eta):
        self.net, self.x, self.s, self.noise, self.eta = net, x, s, noise, eta
        self.n = len(s) - 1
        self.out = []

    def D(self, x, sigma):
        d, self.u = self.net(x, sigma)
        return d

    def slope(self, x, sigma):
        return (x - self.D(x, sigma)) / sigma

    def keep(self, x):
        self.x = x
        self.out.append(x)


def euler(r):
    for a, b in zip(r.s, r.s[1:]):
        r.keep(r.x + (b - a) * r.slope(r.x, a))


def euler_ancestral(r):
    for a, b in zip(r.s, r.s[1:]):
        down, up = parts(a, b, r.eta)
        x = r.x + (down - a) * r.slope(r.x, a)
        r.keep(x + up * r.noise(a, b) if b else x)


def euler_cfg_pp(r):
    for a, b in zip(r.s, r.s[1:]):
        down, up = parts(a, b, r.eta)
        d = r.D(r.x, a)
        x = d + down * (r.x - r.u) / a
        r.keep(x + up * r.noise(a, b) if up else x)


def heun(r):
    for a, b in zip(r.s, r.s[1:]):
        k1 = r.slope(r.x, a)
        k2 = r.slope(r.x + (b - a) * k1, b) if b else k1
        r.keep(r.x + (b - a) * (k1 + k2) / 2)


def heunpp2(r):
    for i in range(r.n):
        a, b, first = r.s[i], r.s[i + 1], r.s[0]
        k = [r.slope(r.x, a)]
        w = [1.0]
        if i + 1 < r.n:
            x2 = r.x + (b - a) * k[0]
            k.append(r.slope(x2, b))
            w = [1 - b / first / 2, b / first / 2]
        if i + 2 < r.n:
            c = r.s[i + 2]
            k.append(r.slope(x2 + (c - b) * k[1], c))
            w = [1 - (b + c) / first / 3, b / first / 3, c / first / 3]
        r.keep(r.x + (b - a) * sum(v * q for v, q in zip(w, k)))


def dpm_2(r):
    for a, b in zip(r.s, r.s[1:]):
        down, up = parts(a, b, r.eta)
        k = r.slope(r.x, a)
        if down > 0:
            mid = math.sqrt(a * down)
            k = r.slope(r.x + (mid - a) * k, mid)
        x = r.x + (down - a) * k
        r.keep(x + up * r.noise(a, b) if up else x)


def adams(order, weights):
    def run(r):
        past = []
        for i in range(r.n):
            a, b = r.s[i], r.s[i + 1]
            d = r.D(r.x, a)
            past = [(r.x - d) / a, *past][:order]
            r.keep(d if b == 0 else r.x + sum(c * k for c, k in zip(weights(r, i, len(past)), past)))

    return run


def lms_weights(r, i, m):
    nodes = [r.s[i - k] for k in range(m)]
    return [quad(lambda t: basis(nodes, j, t), r.s[i], r.s[i + 1], 8) for j in range(m)]


def ipndm_weights(r, i, m):
    rows = [[1], [1.5, -0.5], [23 / 12, -4 / 3, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]]
    return [(r.s[i + 1] - r.s[i]) * c for c in rows[m - 1]]


def ipndm_v_weights(r, i, m):
    """The published coefficients (diff-sampler), with the precedence that its text has."""
    h = [r.s[i + 1 - k] - r.s[i - k] for k in range(m)] + [1.0] * 4
    A, B = h[0] + h[1], h[1] + h[2]
    t3 = 0.5 * (1 - (h[0] / (3 * A)) * (h[0] * A) / (h[1] * B))
    t4 = ((1 - h[0] / (3 * A)) / 2 + (1 - h[0] / (2 * A)) * h[0] / (6 * (A + h[2]))) * (
        h[0] * A * (A + h[2]) / (h[1] * B * (B + h[3]))
    )
    q = h[1] * B / (h[2] * (h[2] + h[3]))
    c = [1.0, 0.0, 0.0, 0.0]
    if m > 1:
        c = [1 + h[0] / h[1] / 2, -h[0] / h[1] / 2, 0, 0]
    if m > 2:
        c = [c[0] + t3, c[1] - t3 * (h[2] + h[1]) / h[2], t3 * h[1] / h[2], 0]
    if m > 3:
        c = [c[0] + t4, c[1] - t4 * (1 + h[1] / h[2] + q), c[2] + t4 * (h[1] / h[2] + q * (h[3] + h[2]) / h[3]), -t4 * q * h[1] / h[2]]
    return [h[0] * v for v in c]


def deis_weights(r, i, m):
    def time(s):
        # log(1 + s^2) = t beta_min + t^2 range / 2, through (0.001, 0.002) and (1, 80)
        lo, hi = math.log1p(0.002**2), math.log1p(80.0**2)
        span = 2 * (lo / 1e-3 - hi) / (1e-3 - 1)
        first = hi - span / 2
        return 2 * math.log1p(s * s) / (math.sqrt(first**2 + 2 * span * math.log1p(s * s)) + first)

    nodes = [time(r.s[i - k]) for k in range(m)]
    return [quad(lambda s: basis(nodes, j, time(s)), r.s[i], r.s[i + 1]) for j in range(m)]


def rk(r, x, t, t2, order):
    """One exponential Runge-Kutta step for eps, in t = -ln sigma; the stages of DPM-Solver-1, -2, -3."""
    h = t2 - t
    sig = lambda v: math.exp(-v)
    e1 = r.slope(x, sig(t))
    if order == 1:
        return x - sig(t2) * h * phi(1, h) * e1
    c = 0.5 if order == 2 else 1 / 3
    e2 = r.slope(x - sig(t + c * h) * c * h * phi(1, c * h) * e1, sig(t + c * h))
    if order == 2:
        return x - sig(t2) * h * phi(1, h) * (e1 + (e2 - e1) / (2 * c))
    return rk3(r, x, t, t2, e1, e2)


def rk3(r, x, t, t2, e1, e2):
    h, sig = t2 - t, lambda v: math.exp(-v)
    z = 2 / 3 * h
    e3 = r.slope(x - sig(t + z) * (z * phi(1, z) * e1 + 2 * z * phi(2, z) * (e2 - e1)), sig(t + z))
    return x - sig(t2) * (h * phi(1, h) * e1 + 1.5 * h * phi(2, h) * (e3 - e1))


def lowest(r):
    return r.s[-1] if r.s[-1] > 0 else r.s[-2]


def stochastic_target(r, t, t2, end):
    if r.eta == 0:
        return t2, 0.0
    down, _ = parts(math.exp(-t), math.exp(-t2), r.eta)
    to = min(end, -math.log(down))
    return to, math.sqrt(max(0.0, math.exp(-2 * t2) - math.exp(-2 * to)))


def dpm_fast(r):
    begin, end = -math.log(r.s[0]), -math.log(lowest(r))
    m = r.n // 3 + 1
    orders = [3] * (m - 2) + [2, 1] if r.n % 3 == 0 else [3] * (m - 1) + [r.n % 3]
    ts = np.linspace(begin, end, m + 1)
    for order, t, t2 in zip(orders, ts, ts[1:]):
        to, up = stochastic_target(r, t, t2, end)
        x = rk(r, r.x, t, to, order)
        r.keep(x + up * r.noise(math.exp(-t), math.exp(-t2)) if up else x)


def dpm_adaptive(r):
    rtol, atol = 0.05, 0.0078
    t, end, h, before = -math.log(r.s[0]), -math.log(lowest(r)), 0.05, r.x
    order = 3 if r.eta == 0 else 1.5
    while t < end - 1e-5:
        t2 = min(end, t + h)
        to, up = stochastic_target(r, t, t2, end)
        g, sig = to - t, lambda v: math.exp(-v)
        e1 = r.slope(r.x, sig(t))
        z = g / 3
        e2 = r.slope(r.x - sig(t + z) * z * phi(1, z) * e1, sig(t + z))
        low = r.x - sig(to) * g * phi(1, g) * (e1 + 1.5 * (e2 - e1))
        high = rk3(r, r.x, t, to, e1, e2)
        error = math.sqrt(np.mean(((low - high) / np.maximum(atol, rtol * np.maximum(abs(low), abs(before)))) ** 2))
        factor = 1 + math.atan((1 / (error + 1e-8)) ** (1 / order) - 1)
        if factor >= 0.81:
            r.keep(high + up * r.noise(sig(t), sig(t2)) if up else high)
            before, t = low, t2
        h *= factor


def dpmpp_2s(r):
    for a, b in zip(r.s, r.s[1:]):
        down, up = parts(a, b, r.eta)
        d = r.D(r.x, a)
        x = d
        if down > 0:
            h = math.log(a / down)
            x = math.exp(-h / 2) * r.x + h / 2 * phi(1, -h / 2) * d
            x = math.exp(-h) * r.x + h * phi(1, -h) * r.D(x, math.sqrt(a * down))
        r.keep(x + up * r.noise(a, b) if up else x)


def dpmpp_2s_cfg_pp(r):
    for a, b in zip(r.s, r.s[1:]):
        down, up = parts(a, b, r.eta)
        d = r.D(r.x, a)
        if down == 0:
            x = d + b * (r.x - r.u) / a
        else:
            h = math.log(a / down)
            x = math.exp(-h / 2) * (r.x + d - r.u) + h / 2 * phi(1, -h / 2) * d
            d2 = r.D(x, math.sqrt(a * down))
            x = math.exp(-h) * (r.x + d - r.u) + h * phi(1, -h) * d2
        r.keep(x + up * r.noise(a, b) if up else x)


def dpmpp_2m(r):
    last = None
    for i in range(r.n):
        a, b = r.s[i], r.s[i + 1]
        d = r.D(r.x, a)
        if b == 0:
            x = d
        else:
            h = math.log(a / b)
            mixed = d if last is None else d + (d - last) * h / math.log(r.s[i - 1] / a) / 2
            x = math.exp(-h) * r.x + h * phi(1, -h) * mixed
        last = d
        r.keep(x)


def dpmpp_2m_cfg_pp(r):
    last = None
    for i in range(r.n):
        a, b = r.s[i], r.s[i + 1]
        d = r.D(r.x, a)
        x = d + b / a * (r.x - r.u)
        if last is not None and b > 0:
            h = math.log(a / b)
            x = x + h * phi(1, -h) * h / math.log(r.s[i - 1] / a) / 2 * (d - last)
        last = r.u
        r.keep(x)


def dpmpp_sde(r):
    for a, b in zip(r.s, r.s[1:]):
        d = r.D(r.x, a)
        x = d
        if b:
            mid = math.sqrt(a * b)
            down, up = parts(a, mid, r.eta)
            x2 = d + down / a * (r.x - d) + up * r.noise(a, mid)
            d2 = r.D(x2, mid)
            down, up = parts(a, b, r.eta)
            x = d2 + down / a * (r.x - d2) + up * r.noise(a, b)
        r.keep(x)


def sde_multistep(order, heun=False):
    def run(r):
        past, h_past = [], []
        for a, b in zip(r.s, r.s[1:]):
            past = [r.D(r.x, a), *past][:order]
            if b == 0:
                r.keep(past[0])
                continue
            h = math.log(a / b)
            z = h * (1 + r.eta)
            p1, p2, p3 = z * phi(1, -z), z * phi(2, -z), z * phi(3, -z)
            x = b / a * math.exp(-h * r.eta) * r.x + p1 * past[0]
            if len(past) == 2 and order == 2:
                d1 = (past[0] - past[1]) * h / h_past[0]
                x = x + (p2 if heun else p1 / 2) * d1
            elif len(past) == 2:
                x = x + p2 * (past[0] - past[1]) * h / h_past[0]
            elif len(past) == 3:
                r0, r1 = h_past[0] / h, h_past[1] / h
                new, old = (past[0] - past[1]) / r0, (past[1] - past[2]) / r1
                d1 = new + r0 / (r0 + r1) * (new - old)
                d2 = (new - old) / (r0 + r1)
                x = x + p2 * d1 - (p2 / z - 0.5) * d2
            if r.eta:
                x = x + b * math.sqrt(1 - math.exp(-2 * h * r.eta)) * r.noise(a, b)
            h_past = [h, *h_past]
            r.keep(x)

    return run


def ddpm(r):
    for a, b in zip(r.s, r.s[1:]):
        d = r.D(r.x, a)
        # posterior of x_b given x_a and the clean sample, in x = x0 + sigma * noise, where for b > 0 the mean of the
        # variance-preserving chain is the one of this chain
        x = (b / a) ** 2 * r.x + (1 - (b / a) ** 2) * d
        if b:
            x = x + b * math.sqrt(1 - (b / a) ** 2) * r.noise(a, b)
        r.keep(x)


def lcm(r):
    for a, b in zip(r.s, r.s[1:]):
        d = r.D(r.x, a)
        r.keep(d + b * r.noise(a, b) if b else d)


def res(cfg_pp):
    def run(r):
        past = None
        for i in range(r.n):
            a, b = r.s[i], r.s[i + 1]
            down, up = parts(a, b, r.eta)
            d = r.D(r.x, a)
            used = r.u if cfg_pp else d
            if down == 0 or past is None:
                x = d + down / a * (r.x - used)
            else:
                h = math.log(a / down)
                c2 = -math.log(r.s[i - 1] / before) / h
                base = r.x + d - r.u if cfg_pp else r.x
                b2 = phi(2, -h) / c2
                x = math.exp(-h) * base + h * ((phi(1, -h) - b2) * used + b2 * past)
            past, before = used, down
            r.keep(x + up * r.noise(a, b) if up else x)

    return run


def gradient_estimation(r):
    last = None
    for a, b in zip(r.s, r.s[1:]):
        k = r.slope(r.x, a)
        r.keep(r.x + (b - a) * (k if last is None or b == 0 else 2 * k - last))
        last = k


def er_sde(r):
    f = lambda v: v * (math.exp(v**0.3) + 10)
    past, slopes = [], []
    for i in range(r.n):
        a, b = r.s[i], r.s[i + 1]
        d = r.D(r.x, a)
        past = [d, *past]
        if b == 0:
            r.keep(d)
            continue
        k = f(b) / f(a)
        x = k * r.x + (1 - k) * d
        if i >= 1:
            points = b + (a - b) / 200 * np.arange(200)
            density = np.array([1 / f(p) for p in points]) * (a - b) / 200
            slope = (past[0] - past[1]) / (a - r.s[i - 1])
            x = x + (b - a + f(b) * density.sum()) * slope
            if i >= 2:
                bend = (slope - slopes[-1]) / ((a - r.s[i - 2]) / 2)
                x = x + ((b - a) ** 2 / 2 + f(b) * ((points - a) * density).sum()) * bend
            slopes.append(slope)
        r.keep(x + math.sqrt(max(0.0, b * b - (a * k) ** 2)) * r.noise(a, b))


def seeds(stages):
    def run(r):
        for a, b in zip(r.s, r.s[1:]):
            d = [r.D(r.x, a)]
            if b == 0:
                r.keep(d[0])
                continue
            h = math.log(a / b)
            z = h * (1 + r.eta)
            path, at, sigma = 0.0, 0.0, a
            for c in [k / stages for k in range(1, stages + 1)]:
                to = a * math.exp(-c * h)
                if len(d) == 1:
                    mean = [-math.expm1(-c * z)]
                elif c == 1 and stages == 2:
                    mean = [0.0, -math.expm1(-z)]
                else:
                    slope = c * z * phi(2, -c * z) * (c if c < 1 else 1) / ((len(d) - 1) / stages)
                    mean = [-math.expm1(-c * z) - slope] + [0.0] * (len(d) - 2) + [slope]
                step = (c - at) * h * r.eta
                path = math.exp(-step) * path + math.sqrt(1 - math.exp(-2 * step)) * r.noise(sigma, to)
                x = to / a * math.exp(-c * h * r.eta) * r.x + sum(m * q for m, q in zip(mean, d)) + to * path
                at, sigma = c, to
                if c < 1:
                    d.append(r.D(x, to))
            r.keep(x)

    return run


def sa_solver(r):
    lam = [-math.log(s) if s else math.inf for s in r.s]
    hi, lo = r.net.at(0.8 * r.net.last), r.net.at(0.2 * r.net.last)
    clean, x_pred, noise, tau = [], r.x, 0.0, 0.0

    def adams_step(x, i, newest, m, tau):
        """from lam[i] to lam[i + 1], through the clean samples newest, newest - 1, ..."""
        speed = 1 + tau * tau
        nodes = [lam[newest - k] for k in range(m)]
        out = r.s[i + 1] / r.s[i] * math.exp(-tau * tau * (lam[i + 1] - lam[i])) * x
        for j in range(m):
            f = lambda l: speed * math.exp(-speed * (lam[i + 1] - l)) * basis(nodes, j, l)
            out = out + quad(f, lam[i], lam[i + 1]) * clean[newest - j]
        return out

    for i in range(r.n):
        clean.append(r.D(x_pred, r.s[i]))
        if r.s[i + 1] == 0:
            r.keep(clean[-1])
            continue
        x = x_pred if i == 0 else adams_step(x, i - 1, i, min(4, i + 1), tau) + noise
        tau = r.eta if lo <= r.s[i + 1] <= hi else 0.0
        x_pred = adams_step(x, i, i, min(3, i + 1), tau)
        noise = 0.0
        if tau:
            noise = r.s[i + 1] * math.sqrt(1 - math.exp(-2 * tau**2 * (lam[i + 1] - lam[i]))) * r.noise(r.s[i], r.s[i + 1])
        x_pred = x_pred + noise
        r.out.append(x)
    r.x = r.out[-1]


def uni_pc(bh2):
    def run(r):
        s = list(r.s)
        if s[-1] == 0:
            s[-1] = min(0.001, s[-2] / 2)
        lam = [-math.log(v) for v in s]
        most = max(1, min(3, r.n - 1))
        clean = [r.D(r.x, s[0])]
        for i in range(r.n):
            p = min(most, i + 1, r.n - i)
            h = lam[i + 1] - lam[i]
            B = -h if not bh2 else math.expm1(-h)
            nodes = [(lam[i - k] - lam[i]) / h for k in range(1, p)] + [1.0]

            def rho(n):
                if n == 1:
                    return [0.5]
                rows = [[v**m for v in nodes[:n]] for m in range(n)]
                # the integrals of the method: (m + 1)! phi_(m + 2)(-h) * (-h) / B
                right = [math.factorial(m + 1) * phi(m + 2, -h) * -h / B for m in range(n)]
                return np.linalg.solve(rows, right)

            diffs = [(clean[i - k] - clean[i]) / nodes[k - 1] for k in range(1, p)]
            base = s[i + 1] / s[i] * r.x - math.expm1(-h) * clean[i]
            x = base - B * sum((w * d for w, d in zip(rho(p - 1), diffs)), np.zeros(1)) if p > 1 else base
            if i + 1 < r.n:
                clean.append(r.D(x, s[i + 1]))
                x = base - B * sum(w * d for w, d in zip(rho(p), [*diffs, clean[-1] - clean[i]]))
            r.keep(x)

    return run


SAMPLERS = {
    # name: (function, noise, eta)
    "euler": (euler, None, 0), "ddim": (euler, None, 0), "euler_cfg_pp": (euler_cfg_pp, None, 0),
    "euler_ancestral": (euler_ancestral, "gauss", 1), "euler_ancestral_cfg_pp": (euler_cfg_pp, "gauss", 1),
    "heun": (heun, None, 0), "heunpp2": (heunpp2, None, 0),
    "dpm_2": (dpm_2, None, 0), "dpm_2_ancestral": (dpm_2, "gauss", 1),
    "lms": (adams(4, lms_weights), None, 0), "ipndm": (adams(4, ipndm_weights), None, 0),
    "ipndm_v": (adams(4, ipndm_v_weights), None, 0), "deis": (adams(3, deis_weights), None, 0),
    "dpm_fast": (dpm_fast, "gauss", 0), "dpm_adaptive": (dpm_adaptive, "gauss", 0),
    "dpmpp_2s_ancestral": (dpmpp_2s, "gauss", 1), "dpmpp_2s_ancestral_cfg_pp": (dpmpp_2s_cfg_pp, "gauss", 1),
    "dpmpp_2m": (dpmpp_2m, None, 0), "dpmpp_2m_cfg_pp": (dpmpp_2m_cfg_pp, None, 0),
    "dpmpp_sde": (dpmpp_sde, "brown", 1), "dpmpp_2m_sde": (sde_multistep(2), "brown", 1),
    "dpmpp_2m_sde_heun": (sde_multistep(2, True), "brown", 1), "dpmpp_3m_sde": (sde_multistep(3), "brown", 1),
    "ddpm": (ddpm, "gauss", 1), "lcm": (lcm, "gauss", 1),
    "res_multistep": (res(False), "gauss", 0), "res_multistep_ancestral": (res(False), "gauss", 1),
    "res_multistep_cfg_pp": (res(True), "gauss", 0), "res_multistep_ancestral_cfg_pp": (res(True), "gauss", 1),
    "gradient_estimation": (gradient_estimation, None, 0), "er_sde": (er_sde, "gauss", 1),
    "seeds_2": (seeds(2), "gauss", 1), "seeds_3": (seeds(3), "gauss", 1), "sa_solver": (sa_solver, "gauss", 1),
    "uni_pc": (uni_pc(False), None, 0), "uni_pc_bh2": (uni_pc(True), None, 0),
}  # fmt: skip
SHORTENED = ("dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2")  # one level more, without the one before the last


class Brownian:
    def __init__(self, sigmas, shape, seed):
        low = float(np.float32(sigmas[sigmas > 0].min()))
        self.tree = torchsde.BrownianTree(low, torch.zeros(shape), float(np.float32(sigmas.max())), entropy=seed)

    def __call__(self, a, b):
        return -(self.tree(b, a) / math.sqrt(a - b)).numpy().astype(np.float64)


def solve(name, schedule, steps, config=SD15, eta=None, denoise=1.0):
    net = Network(config)
    function, kind, usual = SAMPLERS[name]
    if name == "dpm_adaptive":
        net.pace = 0.0
    total = int(steps / denoise)
    s = levels(schedule, net, total + (name in SHORTENED))
    if name in SHORTENED:
        s = np.concatenate([s[:-2], s[-1:]])
    if denoise < 1:
        s = s[-(steps + 1) :]
    generator = torch.Generator().manual_seed(13)
    gauss = lambda a, b: torch.randn(SHAPE, generator=generator).numpy().astype(np.float64)
    noise = Brownian(s, SHAPE, 13) if kind == "brown" else gauss
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(7)).numpy().astype(np.float64)
    first = math.sqrt(1 + s[0] ** 2) if s[0] >= net.high * (1 - 1e-5) else s[0]
    run = Run(net, x * first, s, noise, usual if eta is None else eta)
    function(run)
    assert all(np.isfinite(v).all() for v in run.out), name
    case = {"name": name, "schedule": schedule, "steps": steps, "config": config, "latents": [hexed(v) for v in run.out]}
    if eta is not None:
        case["eta"] = eta
    if denoise < 1:
        case["denoise"] = denoise
    if kind == "brown":
        case["sigmas"] = hexed(s)
    if net.pace == 0:
        case["pace"] = 0
    return case


def solver_cases():
    for name in SAMPLERS:
        for schedule in SCHEDULES:
            # With 8 steps no timestep lies half way between two, where the last bit of a logarithm would decide.
            case = solve(name, schedule, 8)
            if schedule not in ("karras", "sgm_uniform"):
                case["latents"] = case["latents"][-1:]
            yield case
        yield solve(name, "simple", 5, denoise=0.6)
        if name != "dpm_adaptive":  # whose first error estimates drown in the last bits of v_prediction's two terms
            yield solve(name, "normal", 8, config={**SD15, "prediction_type": "v_prediction"})
        for steps in (1, 2, 3):
            if steps > 1 or name not in ("dpm_fast", "dpm_adaptive"):
                yield solve(name, "karras", steps)
        if SAMPLERS[name][1] and name not in ("lcm", "ddpm", "er_sde"):
            yield solve(name, "karras", 6, eta=0.4)


def schedule_cases():
    net = Network(SD15)
    for name in SCHEDULES:
        for steps in (1, 2, 7, 10) if name == "turbo" else (1, 2, 7, 20, 50):
            yield {"schedule": name, "steps": steps, "config": SD15, "sigmas": hexed(levels(name, net, steps))}


def brownian_cases():
    for seed, low, high, points in (
        (0, 0.0291675, 14.614642, [14.614642, 9.7, 4.2, 1.0, 0.3, 0.0291675]),
        (42, 0.1, 80.0, [80.0, 40.05, 10.0, 9.999999, 0.5, 0.1]),
        (2**40 + 7, 0.002, 700.0, [700.0, 350.001, 2.0, 0.002]),
    ):
        low, high = float(np.float32(low)), float(np.float32(high))
        points = [float(np.float32(p)) for p in points]
        tree = torchsde.BrownianTree(low, torch.zeros(20), high, entropy=seed)
        noises = [hexed(-(tree(b, a) / math.sqrt(a - b)).numpy()) for a, b in zip(points, points[1:])]
        states = [
            {"key": list(key), "state": [int(v) for v in np.random.SeedSequence(seed, spawn_key=key, pool_size=24).generate_state(4)]}
            for key in ((), (0, 0), (5, 3), (2**33 + 1, 34))
        ]
        yield {"seed": str(seed), "low": low, "high": high, "points": points, "noise": noises, "states": states}


def diffusers_cases():
    """Heun, KDPM2, KDPM2 ancestral, LMS, LCM and TCD as diffusers has them, with the same toy network."""
    classes = {
        "heun": ("HeunDiscreteScheduler", 2), "dpm_2": ("KDPM2DiscreteScheduler", 2),
        "dpm_2_ancestral": ("KDPM2AncestralDiscreteScheduler", 2), "LMSDiscreteScheduler": ("LMSDiscreteScheduler", 1),
        "FlowMatchEulerDiscreteScheduler": ("FlowMatchEulerDiscreteScheduler", 1),
        "lcm": ("LCMScheduler", 1), "tcd": ("TCDScheduler", 1), "DPMSolverSDEScheduler": ("DPMSolverSDEScheduler", 2),
    }  # fmt: skip
    # the last three: fields that most of these classes lack, and defaults of their own
    fields = [{}, {"timestep_spacing": "leading", "steps_offset": 1}, {"timestep_spacing": "trailing"},
              {"prediction_type": "v_prediction"}, {"use_karras_sigmas": True}, {"use_exponential_sigmas": True},
              {"use_beta_sigmas": True}, {"use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 9.0},
              {"final_sigmas_type": "sigma_min", "rescale_betas_zero_snr": True, "interpolation_type": "log_linear"},
              {"clip_sample": True, "clip_sample_range": 0.7},
              {"_use_default_values": ["beta_start", "beta_end"]}]  # fmt: skip
    distilled = [{}, {"original_inference_steps": 40}, {"prediction_type": "v_prediction"},
                 {"prediction_type": "sample", "clip_sample": True}]  # fmt: skip
    flow = [{}, {"shift": 3.0}, {"shift": 1.7, "use_karras_sigmas": True}]
    for name, (class_name, calls) in classes.items():
        for extra in flow if "Flow" in name else distilled if name in ("lcm", "tcd") else fields:
            config = extra if "Flow" in name else {**SD15, **extra}
            if "SDE" in name:
                config["noise_sampler_seed"] = 21
            try:
                scheduler = getattr(diffusers, class_name).from_config(config)
                scheduler.set_timesteps(7)
            except (ImportError, ValueError):  # the spacing by Beta needs scipy
                continue
            step_noise = torch.Generator().manual_seed(13)
            sample = torch.randn(SHAPE, generator=torch.Generator().manual_seed(7)) * getattr(scheduler, "init_noise_sigma", 1)
            kept = []
            for i, t in enumerate(scheduler.timesteps):
                y = sample if "Flow" in name else scheduler.scale_model_input(sample, t)
                j = torch.arange(y.numel()).reshape(y.shape)
                out = 0.8 * y + 0.3 * torch.cos(2 * y + 0.004 * float(t) + j)
                more = {"generator": step_noise} if class_name[:3] in ("LCM", "TCD") or "Ancestral" in class_name else {}
                sample = scheduler.step(out, t, sample, **more).prev_sample
                if calls == 1 or i % 2 == 0 or i + 1 == len(scheduler.timesteps):
                    kept.append(hexed(sample))
            # after the last step alone: within a step diffusers' sample is a stage
            yield {"name": name, "steps": 7, "config": config, "latents": kept[-1:]}


def philox_cases():
    """torch's documented algorithm in numpy, for one launch of less than 4 * 221184 values."""

    def block(counter, key):
        c, k = [v.astype(np.uint64) for v in counter], [np.uint64(v) for v in key]
        mask = np.uint64(0xFFFFFFFF)
        for _ in range(10):
            p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
            c = [(p1 >> np.uint64(32)) ^ c[1] ^ k[0], p1 & mask, (p0 >> np.uint64(32)) ^ c[3] ^ k[1], p0 & mask]
            k = [(k[0] + np.uint64(0x9E3779B9)) & mask, (k[1] + np.uint64(0xBB67AE85)) & mask]
        return c

    for seed in (0, 42, 2**40 + 3):
        calls = []
        offset = 0
        for n in (5, 300, 16384, 300000):
            threads = 256 * min(-(-n // 256), 108 * 8)
            thread = np.arange(threads)
            zero = np.zeros_like(thread)
            x, y, z, w = block([zero + offset, zero, thread, zero], [seed & 0xFFFFFFFF, seed >> 32])
            f = lambda v: np.float64(v.astype(np.float32)) * 2.0**-32 + 2.0**-33
            r1, r2 = (np.sqrt(-2 * np.log(f(v))) for v in (x, z))
            a1, a2 = (2 * np.pi * f(v) for v in (y, w))
            values = np.concatenate([r1 * np.sin(a1), r1 * np.cos(a1), r2 * np.sin(a2), r2 * np.cos(a2)])[:n]
            offset += (n - 1) // (4 * threads) + 1
            calls.append({"n": n, "first": hexed(values[:40]), "last": hexed(values[-40:]), "sum": float(values.sum())})
        yield {"seed": str(seed), "calls": calls}


def write(name, cases):
    versions = {"diffusers": diffusers.__version__, "torch": torch.__version__, "numpy": np.__version__}
    lines = ",\n".join(json.dumps(case, separators=(",", ":"), sort_keys=True) for case in cases)
    path = FOLDER / f"{name}.json"
    path.write_text(f'{{"versions": {json.dumps(versions)},\n"cases": [\n{lines}\n]}}\n')
    print(path.name, path.stat().st_size)


if __name__ == "__main__":
    write("solvers", list(solver_cases()))
    write("sigma_schedules", list(schedule_cases()))
    write("brownian", list(brownian_cases()))
    write("diffusers_solvers", list(diffusers_cases()))
    write("philox", list(philox_cases()))
