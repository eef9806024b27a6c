"""Builds the compiled twin (`schemas/twin`) where a C compiler is; without, Tailrace installs as it is."""

from __future__ import annotations

from setuptools import Extension, setup

MODULES = ("values", "log_rows")


def extensions() -> list[Extension]:
    """Return what is to be built. `optional`: a build that fails is a warning."""
    try:
        from Cython.Build import cythonize
    except ImportError:
        return []
    modules = [Extension(f"schemas.twin.{name}", [f"schemas/twin/{name}.py"], optional=True) for name in MODULES]
    return list(cythonize(modules, build_dir="build"))


setup(ext_modules=extensions())
