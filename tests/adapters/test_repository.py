"""What a stranger meets: nobody is led to attach media, CI runs what is reviewed, the wheel carries its types."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from fedi_safety.detectors.embedded import dlib_faces, faceres, open_nsfw

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"


def test_whoever_writes_to_us_is_told_never_to_attach_media() -> None:
    forms = [*GITHUB.glob("ISSUE_TEMPLATE/*.yml"), GITHUB / "PULL_REQUEST_TEMPLATE.md"]
    forms = [path for path in forms if path.name != "config.yml"]
    assert len(forms) >= 3
    for path in [*forms, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]:
        assert "never attach media" in path.read_text("utf-8").lower(), path.name


def test_hosted_ci_runs_ci_run_with_pinned_actions_and_few_rights() -> None:
    workflows = list(GITHUB.glob("workflows/*.yml"))
    assert workflows
    for path in workflows:
        text = path.read_text("utf-8")
        uses = re.findall(r"^ *(?:- )?uses: *(.*)$", text, flags=re.MULTILINE)
        assert uses, path.name
        assert [u for u in uses if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v[\d.]+", u)] == [], path.name
        rights = re.findall(r"^ *permissions:(.*(?:\n +\S.*)*)", text, flags=re.MULTILINE)
        assert [right.strip() for right in rights] == ["contents: read"], path.name
        assert re.search(r"^ *- run: \.ci/run$", text, flags=re.MULTILINE), path.name


@pytest.mark.long
def test_the_wheel_carries_its_types_and_the_weights_that_no_other_package_has(tmp_path: Path) -> None:
    built = list(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    with zipfile.ZipFile(built[0]) as wheel:
        assert "fedi_safety/py.typed" in wheel.namelist()
        for weights in (faceres.WEIGHTS, dlib_faces.FINDER, open_nsfw.EIGHT_BITS):
            data = wheel.read(f"fedi_safety/{weights.file}")
            assert hashlib.sha256(data).hexdigest() == weights.sha256
            assert len(data) < 8 << 20
            assert wheel.read(f"fedi_safety/{weights.file.partition('.')[0]}.LICENSE")
