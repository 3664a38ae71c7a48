"""TenSEAL, loaded so that it can live in one process with TensorFlow.

Both bring a Protocol Buffers library of their own. Where TensorFlow was loaded first, TenSEAL's would bind to
TensorFlow's symbols, and the first context that is written ends the process. With ``RTLD_DEEPBIND`` (glibc) a library
looks for symbols in itself first. Platforms without it keep libraries' symbols apart anyway.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from typing import Any

from ..errors import InvalidInput


@functools.cache
def tenseal() -> Any:
    """Return the module `tenseal`. Nobody else imports it.

    Raises
    ------
    InvalidInput
        Code ``missing-extra``.
    """
    flags = sys.getdlopenflags() if hasattr(sys, "getdlopenflags") else None
    try:
        if flags is not None:
            sys.setdlopenflags(flags | getattr(os, "RTLD_DEEPBIND", 0))
        return importlib.import_module("tenseal")
    except ImportError as error:
        raise InvalidInput(
            "This needs TenSEAL, which is not installed here.",
            code="missing-extra",
            hint='pip install "flaas_jupyter[he]"',
        ) from error
    finally:
        if flags is not None:
            sys.setdlopenflags(flags)
