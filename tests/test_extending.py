"""The page on extending, run as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

from orchestrator import results

PAGE = (Path(__file__).parent.parent / "docs" / "extending.md").read_text(encoding="utf-8")


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


def test_a_model_a_data_set_a_scorer_and_a_search_of_ones_own_run_from_a_sweep(tmp_path: Path) -> None:
    (tmp_path / "my_lab.py").write_text(blocks("python"))
    (tmp_path / "my_lab.yaml").write_text(blocks("yaml"))
    tombola = "from orchestrator.cli import main; main()"
    command = [sys.executable, "-c", tombola, "run", "my_lab.yaml", "--store", "store", "--local"]
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent)])
    ran = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    rows = results.trials(str(tmp_path / "store"))
    assert set(rows["model"]) == {"patches_denoising_autoencoder", "patches_vae"}
    assert (rows["status"] == "done").all()
    found = rows[rows["method"] == "two_shot"]
    assert set(found["scored_by"]) == {"lamp"}
    assert found["achieved_sparsity"].between(0.749, 0.751).all()
