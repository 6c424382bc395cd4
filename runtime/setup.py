"""Packs those modules of `self1e` that are in `modules.txt`, which all do without torch and transformers."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MODULES = set((Path(__file__).parent / "modules.txt").read_text("utf-8").split())


class BuildListed(build_py):
    """Leaves out the modules of a package that are not listed."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """(package, module, file) of each module to pack."""
        found = super().find_package_modules(package, package_dir)
        return [each for each in found if f"{each[0]}.{each[1]}".removesuffix(".__init__") in MODULES]


setup(cmdclass={"build_py": BuildListed})
