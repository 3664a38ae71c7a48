"""Units that tables are kept in, and what a number is multiplied with and shifted by from one to the other.

Factors are exact by definition (SI; the international pound, inch and mile of 1959), or those of molar masses for
concentrations of named substances.
"""

from __future__ import annotations

import re

_LINEAR: dict[str, tuple[str, float]] = {}


def _family(base: str, **units: float) -> None:
    _LINEAR.update({unit.replace("_per_", "/"): (base, factor) for unit, factor in units.items()})


_family("kg", kg=1.0, g=1e-3, mg=1e-6, ug=1e-9, t=1e3, lb=0.45359237, lbs=0.45359237, oz=0.028349523125, st=6.35029318)
_family("m", m=1.0, cm=1e-2, mm=1e-3, km=1e3, um=1e-6)
_LINEAR.update({"in": ("m", 0.0254), "ft": ("m", 0.3048), "yd": ("m", 0.9144), "mi": ("m", 1609.344)})
_family("s", s=1.0, ms=1e-3, min=60.0, h=3600.0, d=86400.0, day=86400.0, days=86400.0, week=604800.0, weeks=604800.0)
_LINEAR.update({"year": ("s", 31557600.0), "years": ("s", 31557600.0), "month": ("s", 2629800.0)})
_LINEAR["months"] = ("s", 2629800.0)
_family("l", l=1.0, dl=0.1, cl=0.01, ml=1e-3, ul=1e-6)
_family("pa", pa=1.0, hpa=100.0, kpa=1000.0, bar=1e5, mmhg=133.322387415, psi=6894.757293168)
_family("j", j=1.0, kj=1000.0, cal=4.184, kcal=4184.0, wh=3600.0, kwh=3.6e6)
_family("m/s", m_per_s=1.0, km_per_h=1 / 3.6, mph=0.44704)
_LINEAR["kmh"] = ("m/s", 1 / 3.6)
_family("g/l", g_per_l=1.0, mg_per_dl=0.01, g_per_dl=10.0, mg_per_l=1e-3, ug_per_ml=1e-3, mg_per_ml=1.0, ng_per_ml=1e-6)
_family("mol/l", mol_per_l=1.0, mmol_per_l=1e-3, umol_per_l=1e-6, nmol_per_l=1e-9)
_family("share", share=1.0, permille=1e-3)
_LINEAR.update({"%": ("share", 0.01), "percent": ("share", 0.01), "ratio": ("share", 1.0), "fraction": ("share", 1.0)})
_LINEAR.update({"m2": ("m2", 1.0), "sqft": ("m2", 0.09290304), "sqm": ("m2", 1.0), "ha": ("m2", 1e4)})

_LONG = {
    "kilogram": "kg", "kilograms": "kg", "gram": "g", "grams": "g", "pound": "lb", "pounds": "lb", "ounce": "oz",
    "ounces": "oz", "metre": "m", "metres": "m", "meter": "m", "meters": "m", "centimetre": "cm", "centimetres": "cm",
    "centimeter": "cm", "centimeters": "cm", "inch": "in", "inches": "in", "foot": "ft", "feet": "ft", "mile": "mi",
    "miles": "mi", "second": "s", "seconds": "s", "sec": "s", "minute": "min", "minutes": "min", "hour": "h",
    "hours": "h", "hr": "h", "hrs": "h", "litre": "l", "litres": "l", "liter": "l", "liters": "l", "celsius": "c",
    "degc": "c", "°c": "c", "fahrenheit": "f", "degf": "f", "°f": "f", "kelvin": "k", "mmofhg": "mmhg", "torr": "mmhg",
    "km/hr": "km/h", "kph": "km/h", "µg": "ug", "µm": "um", "µl": "ul", "µmol/l": "umol/l", "μmol/l": "umol/l",
    "micromol/l": "umol/l", "yr": "years", "yrs": "years", "m²": "m2",
}  # fmt: skip

_TEMPERATURES = {"c": (1.0, 0.0), "f": (5 / 9, -160 / 9), "k": (1.0, -273.15)}
"""Degrees Celsius are factor times the number plus offset."""

_MOLAR: dict[str, float] = {
    "glucose": 180.156, "sugar": 180.156, "chol": 386.654, "cholesterol": 386.654, "hdl": 386.654, "ldl": 386.654,
    "triglyceride": 885.43, "creatinine": 113.118, "urea": 60.056, "bilirubin": 584.66, "calcium": 40.078,
    "lactate": 90.078, "uric": 168.11,
}  # fmt: skip
"""Grams per mole; of triglycerides that of triolein, as laboratories have it."""


def conversion(unit: str, wanted: str, about: str = "") -> tuple[float, float] | None:
    """Return factor and offset that turn numbers in `unit` into numbers in `wanted`; None where that is not known.

    Parameters
    ----------
    unit, wanted : str
        As people write them: ``"lb"``, ``"kg"``, ``"mg/dL"``.
    about : str
        Names of the columns: what is dissolved decides between grams and moles.

    Examples
    --------
    >>> conversion("lb", "kg")
    (0.45359237, 0.0)
    >>> round(conversion("mg/dL", "mmol/L", "glucose")[0], 5)
    0.05551
    """
    one, two = _canonical(unit), _canonical(wanted)
    if one in _TEMPERATURES and two in _TEMPERATURES:
        (a, b), (c, d) = _TEMPERATURES[one], _TEMPERATURES[two]
        return a / c, (b - d) / c
    if one not in _LINEAR or two not in _LINEAR:
        return None
    (base, factor), (other, divisor) = _LINEAR[one], _LINEAR[two]
    if base == other:
        return factor / divisor, 0.0
    mass = next((grams for name, grams in _MOLAR.items() if name in about.casefold()), None)
    if mass is None or {base, other} != {"g/l", "mol/l"}:
        return None
    return (factor / mass / divisor if base == "g/l" else factor * mass / divisor), 0.0


def _canonical(unit: str) -> str:
    plain = re.sub(r"\s+", "", unit).casefold()
    return _LONG.get(plain, plain)
