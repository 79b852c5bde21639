"""Computing no padding: which tokens of a batch are needed, and how attention still sees rows.

A batch of rows of unequal length is a rectangle (B, T), of which often a fifth is padding. All
layers but attention look at one token at a time, so they can be given the needed tokens alone,
packed as (N, C), in place of the rectangle; only around attention the tokens go to their places.
And behind the last attention nothing but the targets is needed: a prompt's tokens can be left out
there.

A worked number, with targets at the capitals, `.` for padding, and before filling up:

    a b C D . .      computed 0 1 2 3, 6 7 8 9 10   (9 of 12; place 6 is the second row's first)
    e f g H I .      scored   2 3, 7 8              (of the computed ones: C D, H I)
"""

import torch
from torch import Tensor

MULTIPLE = 256  # packed tokens come in multiples of this, see `round_up`
WORTH_IT = 0.9  # packing more than this share of the rectangle is not worth the moving


def round_up(n: int, step: int) -> int:
    """The next multiple of `step`. Sizes of tensors are rounded up to few different ones, since a
    CPU's matrix library builds a new kernel for each shape that it has not met."""
    return -(-n // step) * step


def select_tokens(targets: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
    """Which tokens must be computed for `targets` (B, T), bool: places in the flattened batch.

    computed (N,)   each row up to its last target; None when these are nearly all
    scored (W,)     which of the computed ones (or, without `computed`, of all) are targets
    scored_at (W,)  the places of the scored ones in the whole batch

    N and W are filled up to a multiple of 256, or to all there are, with tokens that are no
    targets.
    """
    computed, whole = filled_up_places(used(targets).flatten()), torch.arange(targets.numel())
    skips = len(computed) < WORTH_IT * len(whole)
    computed = computed if skips else whole
    scored = filled_up_places(targets.flatten()[computed])
    return computed if skips else None, scored, computed[scored]


def used(targets: Tensor) -> Tensor:
    """Each row of `targets` (B, T), true or false, up to its last true entry."""
    return targets.flip(1).cumsum(1).flip(1) > 0


def filled_up_places(mask: Tensor) -> Tensor:
    """The places of the true entries of `mask` (N,), filled up with others."""
    places = torch.cat((mask.nonzero()[:, 0], (~mask).nonzero()[:, 0]))
    return places[:filled_up(int(mask.sum()))]


def filled_up(tokens: int) -> int:
    """The next multiple of 256, and at least that."""
    return round_up(max(1, tokens), MULTIPLE)


class Spread(torch.autograd.Function):
    """Row i of the result is row there[i] of x; row j of x got the place back[j].

    Places where no token is packed hold some row too, of which no gradient comes back: they lie
    behind the tokens of their batch row, so no token that counts looks at them.
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


class Packed:
    """N tokens of a batch of shape (B, T), which stand at the places `at` (N,) of the flattened
    batch. `heads` are the numbers of heads that attention may ask for."""

    def __init__(self, shape: tuple[int, ...], at: Tensor, heads: set[int]):
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
