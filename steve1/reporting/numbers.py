"""Numbers as people read them in reports."""

from __future__ import annotations

from steve1.core.messages import message


def percent(share: float, decimals: int | None = None, *, sign: bool = False) -> str:
    """A share of 1 in percent, with three digits below 10 % and one decimal above, unless `decimals` says otherwise.

    0.907 → "90.7 %", 0.5 → "50 %", 0.000868 → "0.0868 %"; with decimals=1 and sign: 0.031 → "+3.1 %".
    """
    value, plus = 100 * share, "+" if sign else ""
    if decimals is not None:
        return f"{value:{plus}.{decimals}f} %"
    return (f"{value:{plus}.3g}" if abs(value) < 10 else f"{value:{plus}.1f}".removesuffix(".0")) + " %"


def short(value: float) -> str:
    """A number as short as its size allows: 12k, 20M, 0.35, 1.0e-05."""
    if value == 0:
        return "0"
    # From where four digits would be rounded to five.
    if abs(value) >= 9_999.5:
        return f"{value / 1e6:.4g}M" if abs(value) >= 9_999_500 else f"{value / 1000:.4g}k"
    return f"{value:.1e}" if abs(value) < 1e-3 else f"{value:.4g}"


def percent_range(low: float, high: float) -> str:
    """An interval of a rate: "22-61 %"."""
    return f"{100 * low:.0f}-{100 * high:.0f} %"


def points_range(low: float, high: float) -> str:
    """An interval of a difference of rates, in percentage points: "-3 to +12"."""
    return message("range", low=f"{100 * low:+.0f}", high=f"{100 * high:+.0f}")


def p_value(p: float) -> str:
    """The p of a test, with four decimals where it matters."""
    p += 1e-12  # an exact p such as 1/32 lies halfway between two roundings and is rounded up
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"
