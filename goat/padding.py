"""Computing no padding: which tokens of a batch are needed, and how attention still sees rows.

A batch of rows of unequal length is a rectangle (B, T), of which often a fifth is padding. All
layers but attention look at one token at a time, so they can be given a list of the real tokens,
(N, C), in place of the rectangle; only around attention the tokens go to their places. And behind
the last attention nothing but the targets is needed: a prompt's tokens can be left out there.

A worked number, with targets at the capitals, `.` for padding, and before filling up:

    a b C D . .      real   0 1 2 3, 6 7 8 9 10   (9 of 12; place 6 is the second row's first)
    e f g H I .      wanted 2 3, 7 8               (of the real ones: C D, H I)
"""

import math

import torch
from torch import Tensor

MULTIPLE = 256  # of tokens in a list: every new shape costs a CPU's matrix library a new kernel
WORTH_IT = 0.9  # a list of more than this share of the rectangle is not worth the moving


def places(targets: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
    """Which tokens must be computed for `targets` (B, T), bool: places in the flattened batch.

    real (N,)    each row up to its last target; None when these are nearly all
    wanted (W,)  which of the real ones (or, without `real`, of all) are targets
    at (W,)      the places of the wanted ones in the whole batch

    N and W are filled up to a multiple of 256, or to all there are, with tokens that are no
    targets.
    """
    real, whole = chosen(used(targets).flatten()), torch.arange(targets.numel())
    skips = len(real) < WORTH_IT * len(whole)
    real = real if skips else whole
    wanted = chosen(targets.flatten()[real])
    return real if skips else None, wanted, real[wanted]


def used(targets: Tensor) -> Tensor:
    """Each row of `targets` (B, T), true or false, up to its last true entry."""
    return targets.flip(1).cumsum(1).flip(1) > 0


def chosen(mask: Tensor) -> Tensor:
    """The places of the true entries of `mask` (N,), filled up with others."""
    return torch.cat((mask.nonzero()[:, 0], (~mask).nonzero()[:, 0]))[:filled_up(int(mask.sum()))]


def filled_up(tokens: int) -> int:
    """The next multiple of 256, and at least that."""
    return MULTIPLE * max(1, math.ceil(tokens / MULTIPLE))


class Spread(torch.autograd.Function):
    """Row i of the result is row there[i] of x; row j of x got the place back[j].

    Places where no token is listed hold some row too, of which no gradient comes back: they lie
    behind the tokens of their batch row, so no listed token that counts looks at them.
    """

    @staticmethod
    def forward(ctx, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return x.index_select(0, there)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad.index_select(0, ctx.saved_tensors[0]), None, None


class Gather(torch.autograd.Function):
    """The rows `places` of y, each at most once, so that its gradient moves without any adding."""

    @staticmethod
    def forward(ctx, y: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.rows = y.size(0)
        return y.index_select(0, places)

    @staticmethod
    def backward(ctx, grad: Tensor):
        whole = grad.new_zeros(ctx.rows, grad.size(1))
        return whole.index_copy_(0, ctx.saved_tensors[0], grad), None


class Listed:
    """N tokens of a batch of shape (B, T), which stand at the places `at` (N,) of the flattened
    batch. `heads` are the numbers of heads that attention may ask for."""

    def __init__(self, shape: tuple[int, int], at: Tensor, heads: set[int]):
        self.shape, (B, T) = shape, shape
        number = at.new_zeros(B * T)  # of the token at each place; where none is, any will do
        number[at] = torch.arange(len(at), device=at.device)
        row, column = at // T, at % T
        self.maps = {}
        for n in heads:  # a row to move is one head of one token
            head = torch.arange(n, device=at.device)
            spread = number.view(B, 1, T) * n + head[:, None]  # (B, n, T)
            gather = (row[:, None] * n + head) * T + column[:, None]  # (N, n)
            self.maps[n] = spread.flatten(), gather.flatten()

    def spread(self, x: Tensor, heads: int) -> Tensor:
        """(N, heads * D) -> (B, heads, T, D)."""
        (B, T), D = self.shape, x.size(-1) // heads
        return Spread.apply(x.reshape(-1, D), *self.maps[heads]).view(B, heads, T, D)

    def gather(self, y: Tensor) -> Tensor:
        """(B, heads, T, D) -> (N, heads * D)."""
        heads, D = y.size(1), y.size(3)
        return Gather.apply(y.reshape(-1, D), self.maps[heads][1]).view(-1, heads * D)
