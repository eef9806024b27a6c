"""Builds the compiled twin (`schemas/twin`) where a C compiler is; without, Tailrace installs as it is."""

from __future__ import annotations

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

MODULES = ("values", "log_rows")


class BuildIfPossible(build_ext):  # type: ignore[misc]  # setuptools has no types
    """Builds what can be built. `Extension.optional` is not enough: an editable install wants the files even so."""

    def build_extensions(self) -> None:
        """Build all extensions, and forget those that cannot be."""
        wanted: list[Extension] = self.extensions  # type: ignore[has-type]  # as above
        self.extensions = []
        for extension in wanted:
            try:
                self.build_extension(extension)
            except Exception as error:  # noqa: BLE001 - no compiler, no headers: no reason to fail, whatever it is
                self.warn(f"{extension.name} is not built, generated Python will do its work: {error}")
            else:
                self.extensions.append(extension)


EXTENSIONS = [Extension(f"schemas.twin.{name}", [f"schemas/twin/{name}.py"]) for name in MODULES]

setup(ext_modules=cythonize(EXTENSIONS, build_dir="build"), cmdclass={"build_ext": BuildIfPossible})
