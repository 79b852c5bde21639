"""What moves the weights: fp32 master copies, the loss scale of fp16, Muon for matrices, the
learning-rate schedule."""

import torch
from torch import Tensor, nn

from goat.device import has_fast_bf16


class MasterWeights:
    """fp32 copies of trainable parameters that are kept in 16 bits for speed.

    A step of 1e-3 of a weight's size is lost in bf16 (8 bits of precision), so the optimizer
    works on the copies: `collect` adds each micro-batch's gradients to them in fp32, `publish`
    rounds the stepped copies back into the model. A parameter that is fp32 already (LoRA's A and
    B) is its own master.
    """

    def __init__(self, params: list[nn.Parameter]):
        self.params = params
        self.masters = [p if p.dtype == torch.float32 else nn.Parameter(p.detach().float())
                        for p in params]

    def collect(self) -> None:
        for p, master in zip(self.params, self.masters):
            if p is master or p.grad is None:
                continue
            master.grad = p.grad.float() if master.grad is None else master.grad.add_(p.grad)
            p.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        for p, master in zip(self.params, self.masters):
            if p is not master:
                p.copy_(master)


class LossScaler:
    """Multiplies the loss of an fp16 model by `scale`, and divides the gradients by it afterwards.

    fp16 ends at 65504 and rounds what is below 3e-8 to 0. Gradients of activations are often
    smaller, so they are moved up by a power of two, which changes no digit (Micikevicius et al.
    2018, arXiv 1710.03740, section 3.2). The largest scale that works is found by trying: a step
    whose gradients overflow is passed over and halves the scale; `PATIENCE` steps in a row
    without one double it. A worked number: a gradient of 1e-9 is 0 in fp16; times 65536 it is
    6.55e-5, stored to 3 digits; divided in fp32 it is 1.00e-9 again.

    fp32 and bf16 reach down to 1e-38: their scale is 1 and stays so.
    """

    FIRST, PATIENCE = 2.0 ** 16, 2000

    def __init__(self, dtype: torch.dtype):
        self.active = dtype == torch.float16
        self.scale, self.good_steps = self.FIRST if self.active else 1.0, 0

    def unscale(self, params: list[nn.Parameter]) -> None:
        """Divide the fp32 gradients of `params` by the scale."""
        if self.scale != 1:
            for p in params:
                if p.grad is not None:
                    p.grad.div_(self.scale)

    def stepped(self) -> None:
        """Note a step whose gradients were finite."""
        self.good_steps += 1
        if self.active and self.good_steps % self.PATIENCE == 0:
            self.scale *= 2

    def lower(self) -> bool:
        """Halve the scale after an overflow; False at scale 1, which then is not to blame."""
        if self.scale == 1:
            return False
        self.scale, self.good_steps = self.scale / 2, 0
        return True

    def state_dict(self) -> dict:
        return {"scale": self.scale, "good_steps": self.good_steps}

    def load_state_dict(self, state: dict) -> None:
        self.scale, self.good_steps = state["scale"], state["good_steps"]


def orthogonalise(update: Tensor) -> Tensor:
    """Replace the singular values of each matrix by about 1: U S V^T -> U V^T.

    Five Newton-Schulz steps of X -> aX + b(XX^T)X + c(XX^T)^2 X with Jordan's coefficients, which
    trade exactness (values end in about 0.7 to 1.2) for speed. (matrices, out, in) -> the same.
    """
    dtype = torch.bfloat16 if has_fast_bf16(update.device) else torch.float32
    x = update.to(dtype)
    tall = x.size(1) > x.size(2)
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.float().norm(dim=(1, 2), keepdim=True).to(dtype) + 1e-7)
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.transpose(1, 2) if tall else x


MUON_DECAY = 0.01  # a weight shrinks by this share of the learning rate in a step


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

    For the matrices of the blocks only, LoRA's A and B among them; embeddings, norms and head
    belong to AdamW. Matrices of one shape are stepped as one batch. The step of an (out, in) matrix
    is scaled by sqrt(max(1, out / in)).
    """

    def __init__(self, params, lr: float):
        super().__init__(params, dict(lr=lr, momentum=0.95, weight_decay=MUON_DECAY))

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure is ever given
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.shape, []).append(p)
            for (rows, columns), params in by_shape.items():
                updates = orthogonalise(torch.stack([self.nesterov(p, group) for p in params]))
                scale = group["lr"] * max(1, rows / columns) ** 0.5
                for p, update in zip(params, updates):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update.to(p.dtype), alpha=-scale)

    def nesterov(self, p: nn.Parameter, group: dict) -> Tensor:
        """The gradient mixed with its running mean, which takes it in first."""
        assert p.grad is not None
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        mean = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
        return p.grad.lerp(mean, group["momentum"])


class Optimizer:
    """All that moves the weights: fp32 masters of `params`, their optimizers, fp16's loss scale.

    AdamW steps everything or, with `muon_lr` above 0, Muon the matrices of the blocks and AdamW the
    rest. A step is `backward` for each micro-batch, `clip`, then `step` or `skip`.
    """

    def __init__(self, model: nn.Module, params: list[nn.Parameter], dtype: torch.dtype, *,
                 lr: float, muon_lr: float, betas: tuple[float, float], weight_decay: float):
        self.weights, self.scaler = MasterWeights(params), LossScaler(dtype)
        self.masters = self.weights.masters  # what is stepped; they get the window's gradients
        names = {id(p): name for name, p in model.named_parameters()}
        in_block = [muon_lr > 0 and p.dim() == 2 and ".layers." in names[id(p)] for p in params]
        muon = [master for master, inside in zip(self.masters, in_block) if inside]
        adam = [master for master, inside in zip(self.masters, in_block) if not inside]
        self.parts: list[torch.optim.Optimizer] = [Muon(muon, lr=muon_lr)] if muon else []
        if adam:  # LoRA on blocks leaves nothing to AdamW
            self.parts.append(
                torch.optim.AdamW(adam, lr=lr, betas=betas, weight_decay=weight_decay))
        self.stateful: list = [*self.parts, self.scaler] if self.scaler.active else self.parts
        self.rates = [group["lr"] for group in self.groups]

    @property
    def groups(self) -> list[dict]:
        """The settings of each group of weights."""
        return [group for part in self.parts for group in part.param_groups]

    @property
    def lr(self) -> float:
        """AdamW's learning rate in the last step, or Muon's where AdamW has nothing to do."""
        return self.groups[-1]["lr"]

    def backward(self, loss: Tensor) -> None:
        """Add a micro-batch's gradients to those of the window."""
        (loss * self.scaler.scale).backward()
        self.weights.collect()

    def clip(self, largest: float) -> float:
        """Divide the loss scale out of the gradients, then scale them so that their norm is at most
        `largest`; returns what it was."""
        self.scaler.unscale(self.masters)
        return torch.nn.utils.clip_grad_norm_(self.masters, largest).item()

    def step(self, factor: float) -> None:
        """Move the weights at `factor` times the learning rates, and drop the gradients."""
        for group, rate in zip(self.groups, self.rates):
            group["lr"] = rate * factor
        for part in self.parts:
            part.step()
        self.scaler.stepped()
        self.weights.publish()
        self.skip()

    def skip(self) -> None:
        """Drop the gradients."""
        for p in (*self.masters, *self.weights.params):
            p.grad = None

    def state(self) -> list[Tensor]:
        """The moments that the optimizers keep."""
        return [t for part in self.parts for state in part.state.values()
                for t in state.values() if isinstance(t, Tensor)]

    def future_state(self) -> list[Tensor]:
        """Tensors as large as the moments that are going to be made in the first step: one for a
        weight of Muon's, two for one of AdamW's; none once they are there."""
        return [torch.empty_like(p) for part in self.parts for group in part.param_groups
                for p in group["params"] if p not in part.state
                for _ in range(1 if isinstance(part, Muon) else 2)]

    def state_dict(self) -> dict:
        return {"weights": [m.detach() for m in self.masters],
                "optimizers": [part.state_dict() for part in self.stateful]}

    @torch.no_grad()
    def set_weights(self, weights: list[Tensor]) -> None:
        """Put these in the place of the masters, and so of the model's."""
        for master, saved in zip(self.masters, weights, strict=True):
            master.copy_(saved)
        self.weights.publish()

    def load_state_dict(self, state: dict) -> None:
        self.set_weights(state["weights"])
        for part, saved in zip(self.stateful, state["optimizers"], strict=True):
            part.load_state_dict(saved)


def falls_from(steps: int, warmup: int, hold: float) -> float:
    """The step from which the learning rate falls."""
    return max(warmup, hold * steps)


def schedule(step: int, steps: int, warmup: int, hold: float, final: float) -> float:
    """The factor of the learning rate at `step` of `steps` (0-based).

    Linear warm-up over `warmup` steps (the first step already moves), constant until `hold` of
    the run, then linear down to `final` at its last step (which moves nothing where that is 0,
    unless it is the only one).
    """
    if step < warmup:
        return (step + 1) / warmup
    begin = falls_from(steps, warmup, hold)
    if step < begin or steps == 1:
        return 1.0
    return 1 - (1 - final) * (step + 1 - begin) / max(1, steps - begin)
