"""Packs `self1e` without what is in `left_out.txt`: what needs torch, transformers or more, and most commands."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

SOURCE = "../src"
LEFT_OUT = (Path(__file__).parent / "left_out.txt").read_text("utf-8").split()


class BuildOthers(build_py):
    """Leaves out modules of packages that are packed."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """(package, module, file) of each module to pack."""
        found = super().find_package_modules(package, package_dir)
        return [each for each in found if f"{each[0]}.{each[1]}" not in LEFT_OUT]


packages = find_packages(SOURCE, exclude=[pattern for name in LEFT_OUT for pattern in (name, f"{name}.*")])
setup(
    cmdclass={"build_py": BuildOthers},
    package_dir={"": SOURCE},
    packages=packages,
    options={"egg_info": {"egg_base": "."}},  # beside the sources it would be taken for an installed distribution
    # Names of things, by which words for sides of pictures are known.
    package_data={"self1e": ["py.typed", "assets/classes/*"]},
)
