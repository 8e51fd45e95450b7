"""Muon for matrices and convolutions, AdamW for everything else.

Muon replaces a weight's momentum by the nearest (semi-)orthogonal matrix, so
that all directions of the weight learn at the same pace.  An autoencoder's
narrow waist gains much from that: it takes far fewer steps than with AdamW.
"""

import torch

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonalize(stack):
    """The nearest orthogonal matrices of a (n, rows, columns) stack, roughly."""
    a, b, c = NEWTON_SCHULZ
    x = stack.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.transpose(1, 2) if tall else x).float()


class Muon(torch.optim.Optimizer):
    """`matrices` are trained by Muon, `others` by AdamW; steps are scaled alike.

    An orthogonal update is scaled so that its size is that of a typical AdamW
    update (0.2 per weight), which lets both halves share one learning rate;
    AdamW takes the part `others_lr` of it.
    """

    def __init__(self, matrices, others, lr, others_lr=0.4, momentum=0.95, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0):
        groups = [dict(params=list(matrices), muon=True, part=1.0),
                  dict(params=list(others), muon=False, part=others_lr)]
        super().__init__(groups, dict(lr=lr, momentum=momentum, betas=betas, eps=eps, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            lr = group["lr"] * group["part"]
            if group["weight_decay"]:
                torch._foreach_mul_(params, 1.0 - lr * group["weight_decay"])
            if group["muon"]:
                self._muon(params, group, lr)
            else:
                self._adamw(params, group, lr)

    def _muon(self, params, group, lr):
        shapes = {}
        for p in params:
            state = self.state[p]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1.0 - group["momentum"])
            update = p.grad.lerp(state["momentum"], group["momentum"]).flatten(1)
            shapes.setdefault(tuple(update.shape), []).append((p, update))
        for (rows, columns), members in shapes.items():
            updates = orthogonalize(torch.stack([u for _, u in members]))
            scale = 0.2 * max(rows, columns) ** 0.5
            for (p, _), u in zip(members, updates):
                p.add_(u.view_as(p), alpha=-lr * scale)

    def _adamw(self, params, group, lr):
        beta1, beta2 = group["betas"]
        for p in params:
            state = self.state[p]
            if "step" not in state:
                state.update(step=0, first=torch.zeros_like(p), second=torch.zeros_like(p))
            state["step"] += 1
            state["first"].lerp_(p.grad, 1.0 - beta1)
            state["second"].mul_(beta2).addcmul_(p.grad, p.grad, value=1.0 - beta2)
            first = state["first"] / (1.0 - beta1 ** state["step"])
            second = (state["second"] / (1.0 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
            p.addcdiv_(first, second, value=-lr)


def split(named_parameters, excluded=()):
    """Which parameters are matrices for Muon, and which stay with AdamW."""
    matrices, others = [], []
    for name, p in named_parameters:
        wanted = p.ndim >= 2 and not any(word in name for word in excluded)
        (matrices if wanted else others).append(p)
    return matrices, others
