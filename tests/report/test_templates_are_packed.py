"""The templates of the page are in the bundle that `flwr run` sends to the server."""

import io
import zipfile
from pathlib import Path

from flwr.cli.build import build_fab_from_disk

import fedgates

ROOT = Path(fedgates.__file__).parents[1]


def test_a_bundle_has_every_template():
    with zipfile.ZipFile(io.BytesIO(build_fab_from_disk(ROOT))) as bundle:
        packed = {name for name in bundle.namelist() if name.startswith("fedgates/report/templates/")}
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "fedgates/report/templates").rglob("*.*")}
    assert packed == here
    assert len(here) > 10
