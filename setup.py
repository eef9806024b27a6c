"""Builds the compiled twin (`schemas/twin`) where a C compiler is; without, Tailrace installs as it is."""

from __future__ import annotations

import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# A build in isolation does not look for modules beside this file.
sys.path.insert(0, str(Path(__file__).parent))

from schemas.twin import MODULES, sources_digest


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


# Each one carries a digest of all, so all are built again when one changes.
SOURCES = [str(path) for path in Path("schemas/twin").glob("*.p*")]
CARRIED = [("TWIN_SOURCES", f'"{sources_digest()}"')]
EXTENSIONS = [
    Extension(f"schemas.twin.{name}", [f"schemas/twin/{name}.py"], define_macros=CARRIED, depends=SOURCES)
    for name in MODULES
]

# C made of other sources lies elsewhere: by their times, Cython would take it for new where old files were unpacked.
setup(ext_modules=cythonize(EXTENSIONS, build_dir=f"build/{sources_digest()}"), cmdclass={"build_ext": BuildIfPossible})
