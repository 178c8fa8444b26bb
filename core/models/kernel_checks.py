"""Compiled steps are used only where they compute what PyTorch computes, and linear layers where they pay."""

from time import perf_counter

import torch
from torch import Tensor

from core.models.kernel_arguments import GROUP, Change, Norm, Step
from core.models.kernels import Kernels

# How often a product is timed at least and at most, and how much longer than PyTorch's it may take: on the processor
# that it was written for it took .93 of it. What else a machine does disturbs some of the times.
_TIMES, _MOST_TIMES, _FAR_SLOWER = 8, 64, 1.25
# How far a result may be from PyTorch's, as a share: far below what rounding to bfloat16 does.
_ROUNDING = 1e-4
# The same of what is computed from products of numbers in bfloat16, and rounded to it.
_HALF_ROUNDING = 2**-7
# And of a product of numbers that are rounded to one of 255 steps, or of some thousand.
_INT8_ROUNDING, _INT16_ROUNDING = 0.02, 1e-3


def agree(kernels: Kernels) -> bool:
    """Whether they compute on some numbers what PyTorch computes."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), torch.inference_mode(False):
        torch.manual_seed(0)
        attend = all(_attend_alike(kernels, dtype) for dtype in (torch.float32, torch.bfloat16))
        return (
            attend
            and _multiply_alike(kernels)
            and all(_layers_alike(kernels, dtype) for dtype in (torch.float32, torch.bfloat16))
            and all(_norm_alike(kernels, dtype) for dtype in (torch.float32, torch.bfloat16))
            and _step_alike(kernels)
            and _drop_some(kernels)
            and _bend_alike(kernels)
        )


def products_pay(kernels: Kernels, dtype: torch.dtype) -> bool:
    """Whether PyTorch does not multiply these far faster here. Equal processors shall say the same each time.

    By one thread: several would wait for one another where the machine has other work.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _multiply_fast_enough(kernels, dtype)
    finally:
        torch.set_num_threads(threads)


def _multiply_fast_enough(kernels: Kernels, dtype: torch.dtype) -> bool:
    given, weight = (torch.ones(rows, 512, dtype=dtype) for rows in (256, 512))
    usual: list[float] = []
    own: list[float] = []
    with torch.inference_mode():
        for number in range(_MOST_TIMES):
            if number >= _TIMES and min(own) <= _FAR_SLOWER * min(usual):
                return True
            begin = perf_counter()
            torch.nn.functional.linear(given, weight)
            between = perf_counter()
            kernels.linear(given, [weight], [None])
            usual.append(between - begin)
            own.append(perf_counter() - between)
    return False


def _alike(found: Tensor, wanted: Tensor, rounding: float = _ROUNDING) -> bool:
    return bool((found - wanted).norm() <= rounding * wanted.norm())


def _attend_alike(kernels: Kernels, dtype: torch.dtype) -> bool:
    lengths, heads, dim, scale = torch.tensor([5, 18]), 2, 32, 0.2
    begins, tokens = lengths.cumsum(0) - lengths, int(lengths.sum())
    rounded = [torch.randn(1, tokens, heads, dim).to(dtype).transpose(1, 2) for _ in range(3)]
    parts = [part.float().requires_grad_() for part in rounded]
    apart = torch.arange(2).repeat_interleave(lengths)
    query, key, value = parts
    scores = (query @ key.transpose(2, 3) * scale).masked_fill(apart[:, None] != apart, -torch.inf)
    wanted = (scores.softmax(-1) @ value).transpose(1, 2).reshape(-1, dim)
    slope = torch.randn_like(wanted).to(dtype)
    back = torch.autograd.grad(wanted, parts, slope.float())
    found, to = torch.empty_like(slope), [torch.empty_like(slope) for _ in parts]
    kernels.attention(rounded, begins, lengths, 18, scale, found)
    kernels.attention_back(rounded, begins, lengths, 18, scale, slope, to)
    laid = [each.transpose(1, 2).reshape(-1, dim) for each in back]
    rounding = _ROUNDING if dtype == torch.float32 else _HALF_ROUNDING
    return all(_alike(some, each, rounding) for some, each in zip((found, *to), (wanted, *laid), strict=True))


def _step_alike(kernels: Kernels) -> bool:
    exact, gradient = torch.randn(5000), torch.randn(5000).bfloat16()
    usual = exact.clone().requires_grad_()
    usual.grad = gradient.float()
    weight = torch.nn.Parameter(exact.bfloat16())
    weight.grad = gradient
    torch.optim.AdamW([usual], lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1).step()
    means, step = (torch.zeros(5000), torch.zeros(5000)), Step(1, 0.1, (0.9, 0.99), 1e-8, 0.1)
    table, rounded = exact.clone().view(50, 100), exact.bfloat16().view(50, 100)
    kernels.adamw([Change(weight, exact, means, step)])
    backwards = torch.arange(49, -1, -1)  # each row, by a gradient that stands in the other order
    own = [torch.zeros(50, 100), torch.zeros(50, 100)]
    kernels.adamw_rows(rounded, table, own, torch.arange(50), usual.grad.view(50, 100)[backwards], backwards, step)
    alike = _alike(exact, usual.detach()) and bool((weight.detach() == exact.bfloat16()).all())
    alike = alike and _alike(table.view(-1), exact) and torch.equal(rounded, table.bfloat16())
    return alike and abs(kernels.squares([gradient]) / float(gradient.double().square().sum()) - 1) < _ROUNDING


def _multiply_alike(kernels: Kernels) -> bool:
    weight, bias, given = torch.randn(64, 48), torch.randn(64), torch.randn(13, 48).bfloat16()
    if not kernels.can_multiply_int8(weight):
        return True  # nobody asks for it then
    laid, wanted = (kernels.int8_rows(given), kernels.int8_weights(weight, bias)), given.float() @ weight.T + bias
    bent = torch.nn.functional.gelu(wanted)
    alike = _alike(kernels.int8_linear(*laid), wanted, _INT8_ROUNDING)
    return alike and _alike(kernels.int8_linear(*laid, bend=True), bent, _INT8_ROUNDING)


def _layers_alike(kernels: Kernels, dtype: torch.dtype) -> bool:
    """Linear layers of 64 or 128 numbers, two of them and one that is bent, there and back, also rounded first."""
    exact = dtype == torch.float32
    usual_rounding, whole_rounding = (_ROUNDING, _INT16_ROUNDING) if exact else (_HALF_ROUNDING, _INT8_ROUNDING)
    for outer, inner in ((128, 64), (64, 128)):
        given, other, slope = (torch.randn(19, width).to(dtype) for width in (inner, inner, outer))
        weights, biases = ([torch.randn(outer, *some).div(8).to(dtype) for _ in range(2)] for some in ((inner,), ()))
        if not kernels.can_multiply(given, weights[0]):
            return True  # nobody asks for it then
        numbers = [each.float().requires_grad_() for each in (given, *weights, *biases)]
        wanted = [numbers[0] @ numbers[1 + n].T + numbers[3 + n] for n in range(2)]
        back = torch.autograd.grad(wanted, numbers, [slope.float(), 2 * slope.float()], retain_graph=True)
        bent = torch.nn.functional.gelu(wanted[0])
        (bending,) = torch.autograd.grad(bent.sum(), wanted[0])
        gradients, slopes = [slope, 2 * slope], torch.empty_like(slope)
        for whole in (False, True) if (kernels.learns_int16 if exact else kernels.learns_int8) else (False,):
            learned = kernels.linear_weights(gradients, given, whole=whole and exact)
            found = (
                *kernels.linear(given, weights, biases, whole=whole),
                kernels.linear_back(gradients, weights, other, given, whole=whole),
                kernels.bent_linear(given, weights[0], biases[0], slopes, whole=whole), slopes,
                *(weight for weight, _ in learned), *(bias for _, bias in learned),
            )  # fmt: skip
            usual = (*wanted, back[0] * other + given, bent, bending, *back[1:])
            rounding = whole_rounding if whole else usual_rounding
            if not all(_alike(some, each.detach(), rounding) for some, each in zip(found, usual, strict=True)):
                return False
    return True


def _norm_alike(kernels: Kernels, dtype: torch.dtype) -> bool:
    rows, width, seed, share = GROUP + 9, 50, 2**63 + 5, 0.25
    given, beside, slope = (torch.randn(rows, width).to(dtype) for _ in range(3))
    weight, bias = (torch.randn(width).to(dtype) for _ in range(2))
    even, scales = torch.empty_like(given), torch.empty(rows)
    for norm in (Norm(weight, bias, 1e-5), Norm(weight, bias, 1e-5, seed, share)):
        left = kernels.dropped(torch.ones(rows, width), norm.seed, norm.share)
        exact = [each.float().requires_grad_() for each in (given, beside, weight, bias)]
        wanted = torch.nn.functional.layer_norm(exact[0] * left + exact[1], (width,), exact[2], exact[3], 1e-5)
        usual = torch.autograd.grad(wanted, exact, slope.float())
        found = kernels.norm(given, beside, norm, even, scales)
        *back, both = kernels.norm_back(slope, norm, even, scales, learned=True)
        rounding = _ROUNDING if dtype == torch.float32 else _HALF_ROUNDING
        pairs = zip((found, *back, *(both if both is not None else ())), (wanted.detach(), *usual), strict=True)
        if not all(_alike(some, each, rounding) for some, each in pairs):
            return False
        if not _alike(kernels.norm(given, beside, norm), wanted.detach(), rounding):
            return False
    return True


def _bend_alike(kernels: Kernels) -> bool:
    values = torch.linspace(-6, 6, 500, requires_grad=True)
    wanted = torch.nn.functional.gelu(values)
    (slopes,) = torch.autograd.grad(wanted.sum(), values)
    found = kernels.gelu(values.detach())
    return _alike(found[0], wanted) and _alike(found[1], slopes)


def _drop_some(kernels: Kernels) -> bool:
    for dtype in (torch.float32, torch.bfloat16):
        found = kernels.dropped(torch.ones(40_000, dtype=dtype), 2**63 + 1, 0.25)
        kept = torch.tensor(1 / 0.75, dtype=dtype)
        if not bool(((found == 0) | (found == kept)).all()) or abs(float((found == 0).float().mean()) - 0.25) > 0.02:
            return False
    return True
