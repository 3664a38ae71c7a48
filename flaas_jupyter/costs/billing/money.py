"""Amounts as two whole numbers, so that a data base adds them up exactly and in any order.

An amount is ``micro · 10⁻⁶ + femto · 10⁻¹⁵`` of its currency with ``0 <= femto < 10⁹``. Both parts of more than a
billion rows fit into 64 bits when added up, and SQLite, which has no decimal type, adds them like PostgreSQL.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

from ...errors import InvalidInput

LARGEST = 10**9
"""No single charge is as large as this, in any currency."""

_FEMTO_PER_MICRO = 10**9
_FEMTO = Decimal(1).scaleb(-15)
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)


def parts(amount: Decimal) -> tuple[int, int]:
    """Return `amount` as (micro, femto), rounded half to even at 10⁻¹⁵.

    Raises
    ------
    InvalidInput
        Code ``bad-amount``: it is not finite, or as large as `LARGEST`.
    """
    if not amount.is_finite() or abs(amount) >= LARGEST:
        raise InvalidInput(
            f"{amount} is no amount of a charge.", code="bad-amount", hint=f"Give a number below {LARGEST:,}."
        )
    femto = int(amount.scaleb(15, _EXACT).to_integral_value(ROUND_HALF_EVEN, _EXACT))
    return divmod(femto, _FEMTO_PER_MICRO)


def amount(micro: float, femto: float) -> Decimal:
    """Return the amount that two parts, or sums of parts, stand for; trailing zeros are cut off."""
    whole = Decimal(int(micro) * _FEMTO_PER_MICRO + int(femto)).scaleb(-15, _EXACT)
    short = whole.normalize(_EXACT)
    return short if short.as_tuple().exponent <= 0 else short.quantize(Decimal(1), context=_EXACT)  # type: ignore[operator]  # finite


def plain(value: Decimal) -> str:
    """Return `value` in digits, never with an exponent."""
    return format(value, "f")
