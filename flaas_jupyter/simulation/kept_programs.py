"""Compiled programs outlive the process: they are kept in the user's home, and loaded instead of compiled again.

To load one takes about a fifth of the time and far less memory. JAX's own cache of compiled programs will not do here:
what it has loaded cannot be loaded onto a second device.
"""

from __future__ import annotations

import hashlib
import os
import platform
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from ..home import Home, write_private

if TYPE_CHECKING:
    from jax.stages import Lowered

_MOST = 256
"""Programs; the oldest go first. One of a small network has about 50 kB."""
_DIGEST = 32


def program_of(lowered: Lowered, home: Home | None = None) -> bytes:
    """Return a program, compiled for one CPU device, as what `deserialize_executable` of its JAX client takes.

    Parameters
    ----------
    lowered : jax.stages.Lowered
    home : Home, optional
        Where programs are kept; `Home.default` unless given.
    """
    file = (home or Home.default()).programs / _name(lowered)
    try:
        return _read(file)
    except (OSError, ValueError, zlib.error):
        made = _compiled(lowered)
    try:
        packed = zlib.compress(made)
        write_private(file, hashlib.sha256(packed).digest() + packed)
        _forget_oldest(file.parent)
    except OSError:  # a home that cannot be written to costs time, nothing else
        pass
    return made


def _name(lowered: Lowered) -> str:
    """Return a name that only the same program, compiled in the same way for the same kind of processor, has."""
    import jax
    import jaxlib

    compiling = (jax.__version__, jaxlib.__version__, os.environ.get("XLA_FLAGS", ""), _processor())
    return hashlib.sha256("\n".join([*compiling, lowered.as_text()]).encode()).hexdigest()


def _processor() -> str:
    """Return what this machine's processor can do: homes are shared, and a program made for more ends the process."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        able = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        able = platform.processor()
    return f"{platform.machine()} {able}"


def _read(file: Path) -> bytes:
    stored = file.read_bytes()
    digest, packed = stored[:_DIGEST], stored[_DIGEST:]
    if hashlib.sha256(packed).digest() != digest:
        raise ValueError(f"{file} is damaged")
    return zlib.decompress(packed)


def _compiled(lowered: Lowered) -> bytes:
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    enabled = jax.config.jax_enable_compilation_cache
    try:
        if jax.config.jax_compilation_cache_dir:  # the user's: see above
            jax.config.update("jax_enable_compilation_cache", False)
            compilation_cache.reset_cache()  # JAX asks once only
        made: bytes = lowered.compile().runtime_executable().serialize()
    finally:
        if jax.config.jax_compilation_cache_dir:
            jax.config.update("jax_enable_compilation_cache", enabled)
            compilation_cache.reset_cache()
    return made


def _forget_oldest(folder: Path) -> None:
    kept = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in kept[_MOST:]:
        file.unlink(missing_ok=True)
