"""The published methods, one paper a file.

In a checkout their files are in the folder ``strategies/`` beside the package, in a wheel they are in this one; either way a
method's module is ``fedgates.strategies.<name>``.
"""

from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[2] / "strategies"
if not Path(__file__).with_name("fedpm.py").exists():
    __path__.append(str(_BESIDE))
