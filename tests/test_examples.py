"""The examples run, from the command line and without downloads."""

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

QUICKSTART = Path(__file__).parents[1] / "examples" / "quickstart.py"


def run(*options, **environment):
    return subprocess.run(
        [sys.executable, QUICKSTART, *options],
        capture_output=True,
        text=True,
        env=os.environ | {"MPLBACKEND": "agg"} | environment,
    )


def test_quickstart(tmp_path):
    result = run("--output", str(tmp_path / "new"))
    assert result.returncode == 0, result.stderr
    for text in ["[CV 3/3] END", "Chosen: {", "153,354", "valid_loss", "precision"]:
        assert text in result.stdout
    accuracy = float(result.stdout.partition("Test accuracy: ")[2].split()[0])
    assert accuracy > 0.95
    with Image.open(tmp_path / "new" / "quickstart-digits.png") as picture:
        width, height = picture.size
    assert width > height > 400


def test_quickstart_without_data(tmp_path):
    # Proxies that refuse keep torchvision from downloading.
    proxy = "http://127.0.0.1:9"
    options = ["--data", "fashion-mnist", "--data-home", str(tmp_path)]
    result = run(*options, http_proxy=proxy, https_proxy=proxy)
    assert result.returncode == 1
    assert str(tmp_path) in result.stderr
    assert "run without --data" in result.stderr
    assert "Traceback" not in result.stderr
