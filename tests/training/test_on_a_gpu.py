"""The paths of a GPU, as far as they can be seen without one.

The laws are those of `gpu_laws.py`. They run in a process of their own, into which a torch without CUDA has to load a
stand-in for it before anything else.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def stand_in(folder: Path) -> dict[str, str]:
    """Environment variables that load it; a torch that was built with CUDA needs none."""
    if torch.version.cuda is not None:
        return {}
    if sys.platform != "linux" or shutil.which("g++") is None:
        pytest.skip("a torch without CUDA needs g++ on Linux to stand in for it")
    home, library = Path(torch.__file__).parent, folder / "one_device.so"
    words = ["g++", "-std=c++20", "-shared", "-fPIC", f"-I{home / 'include'}", str(HERE / "one_device.cpp"), "-o"]
    libraries = [f"-L{home / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{home / 'lib'}"]
    subprocess.run([*words, str(library), *libraries], check=True)
    return {"LD_PRELOAD": str(library)}


def test_all_laws_of_a_gpu_that_need_none(tmp_path: Path) -> None:
    quiet = {
        "TORCH_AUTOGRAD_SHUTDOWN_WAIT_LIMIT": "0"
    }  # its thread for the device would wait for Python, which is gone
    words = ["-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", str(HERE / "gpu_laws.py")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        env=os.environ | stand_in(tmp_path) | quiet,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        pytest.fail(run.stdout[-20000:] + run.stderr[-2000:], pytrace=False)
