"""What the Bicep compiler refuses, which the templates rely on. Skipped where there is no compiler."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from infra.deployments.check import MISSING, PLACE, compiler
from infra.deployments.deployments import DEPLOYMENTS, Deployment, parameter_file, parameters
from tests.infra.deployed import INFRA, ROOT

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no Bicep compiler: set BICEP")


def refusal(folder: Path, text: str) -> str:
    """The compiler's message about parameters that it refuses."""
    file = folder / "refused.bicepparam"
    file.write_text(text)
    command = [str(compiler()), "snapshot", str(file), "--mode", "overwrite", *PLACE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stdout + done.stderr


def filled(folder: Path, deployment: Deployment) -> str:
    return parameter_file(parameters(deployment), os.path.relpath(INFRA / "main.bicep", folder))


@needs_compiler
@pytest.mark.heavy
@pytest.mark.parametrize("sku", ["BasicV2", "Developer", "Standard"])
def test_a_private_network_needs_a_tier_that_reaches_into_it(tmp_path: Path, sku: str) -> None:
    """PRIVATE_NETWORK=true with another APIM_SKU is refused before anything is made, and says which are possible."""
    private = replace(DEPLOYMENTS["private"], environ={"PRIVATE_NETWORK": "true", "APIM_SKU": sku})
    said = refusal(tmp_path, filled(tmp_path, private))
    assert f"PRIVATE_NETWORK=true needs APIM_SKU=StandardV2, PremiumV2 or Premium: {sku}" in said


@needs_compiler
@pytest.mark.heavy
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("param redact", "param unheard = 1\nparam redact"),
        ("location: 'swedencentral'", "location: 'swedencentral'\n    sku: 'S0'"),
        ("capacity: 50", "capacity: 'fifty'"),
        ("model: 'gpt-4.1-mini'", ""),
    ],
)
def test_a_wrong_member_is_found(tmp_path: Path, right: str, wrong: str) -> None:
    """The types of accounts and deployments let no wrong member pass."""
    text = filled(tmp_path, DEPLOYMENTS["plain"])
    assert right in text
    assert "Error BCP" in refusal(tmp_path, text.replace(right, wrong))


@pytest.mark.parametrize("home", ["empty", "az"])
def test_make_infra_says_how_to_get_a_compiler(tmp_path: Path, home: str) -> None:
    """Without one it fails and names two ways; the Azure CLI's is found where `az bicep install` puts it."""
    if home == "az":
        (tmp_path / ".azure/bin").mkdir(parents=True)
        (tmp_path / ".azure/bin/bicep").write_text("#!/bin/sh\necho 'main.bicep(1,1) : Warning of-a-rule'\n")
        (tmp_path / ".azure/bin/bicep").chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "infra/deployments/check.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    if home == "az":
        assert "Warning of-a-rule" in done.stdout
    else:
        assert done.stderr.strip() == MISSING
