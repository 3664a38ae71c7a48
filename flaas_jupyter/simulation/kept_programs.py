"""Compiled programs outlive the process: they are kept in the user's home, and loaded instead of compiled again.

To load one takes about a fifth of the time and far less memory. JAX files them by the program, its own release and the
options of compiling; the kind of processor is added here, for several machines may share a home.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import threading
from collections.abc import Iterator
from pathlib import Path

from ..home import Home

_MOST = 256
"""Programs; the oldest go first. One of a small network has about 50 kB."""
_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def kept(home: Home | None = None) -> Iterator[None]:
    """Load and keep what JAX compiles in this context; where the user has set up JAX's cache, that one serves."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    if jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:
        yield
        return
    folder = (home or Home.default()).programs / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _forget_oldest(folder)
    except OSError:  # a home that cannot be written to costs time, nothing else
        yield
        return
    wanted = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }
    with _one_at_a_time:
        before = {name: getattr(jax.config, name) for name in wanted}
        try:
            _configure(wanted)
            compilation_cache.reset_cache()  # JAX looks at the folder once only
            yield
        finally:
            _configure(before)
            compilation_cache.reset_cache()


def _configure(values: dict[str, object]) -> None:
    import jax

    for name, value in values.items():
        jax.config.update(name, value)


def _forget_oldest(folder: Path) -> None:
    kept_files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in kept_files[_MOST:]:
        file.unlink(missing_ok=True)


def _processor() -> str:
    """Return a name for what this machine's processor can do; a program made for more would end the process."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        able = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        able = platform.processor()
    return hashlib.sha256(f"{platform.machine()} {able}".encode()).hexdigest()[:16]
