"""What the library computes, pinned: `python tests/golden/golden.py` compares, `--write` makes the files anew.

Each group of cases is a file of values/, readable JSON. Numbers may move a little, everything else not at all;
under the pinned kernels (PINNED, one thread, fp32) a processor gives the same bits each time. Which kernels there are
must be said before torch is imported, so cases are made in processes of their own.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auxlearn.studies.golden_values import ELSEWHERE, TOLERANCE, USUAL, differences

HERE = Path(__file__).parent
VALUES, INDEX = HERE / "values", HERE / "index.json"
PINNED = {
    "ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
}  # fmt: skip
MAKER = "AuthenticAMD"  # of the processor that the values were made on; on another's less can be asked
# Two processes make them, which end at about the same time; each shares what its groups train. The first part is in
# `make test-slow`: what it trains is switches of arms that the second trains as they are, and another seed; its
# costs of whole studies are sums of forecasts that tests/methods hold against what was counted.
PARTS = (
    ("weights", "switches", "arms", "cost"),
    ("arms, seed 0", "combined", "heads", "proxies", "gradients", "cascade", "gradts", "autosem", "statistics",
     "data", "tawt", "selection", "fastmtl", "keys", "minilm fp32"),
)  # fmt: skip
UNPINNED = ("minilm bf16",)
PART_OF = {"arms, seed 0": "arms"}  # groups that are some cases of another
NAMES = (*(name for part in PARTS for name in part), *UNPINNED)


def at_home() -> bool:
    """Tell whether this processor is of the maker whose values are stored."""
    try:
        return MAKER in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def plain(value: Any) -> Any:
    """As JSON holds it: tables by column, arrays and tensors as lists, floats in full."""
    if hasattr(value, "to_dict") and not isinstance(value, dict):  # pandas
        value = value.reset_index(drop=_numbered(value)).to_dict(*(["list"] if value.ndim == 2 else []))
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _numbered(table: Any) -> bool:
    return table.index.name is None and table.index.dtype.kind in "iu" and table.ndim == 2


def text(cases: Mapping[str, Any]) -> str:
    """Indented JSON in which a list of plain values is one line."""
    shown = json.dumps(cases, indent=1, ensure_ascii=False)
    return re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: "[" + re.sub(r"\s*\n\s*", " ", m[1]) + "]", shown) + "\n"


def stored(name: str) -> dict[str, Any]:
    whole = PART_OF.get(name, name)
    file = VALUES / f"{whole}.json"
    cases = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {case: value for case, value in cases.items() if whole == name or case.endswith(name.removeprefix(whole))}


def make_here(names: Sequence[str], folder: Path) -> None:
    """Write NAME.json into the folder for each of these groups, made in this process."""
    import torch

    import arms_and_switches
    import blocks

    torch.set_num_threads(1)
    for name in names:
        cases = plain((blocks.GROUPS | arms_and_switches.GROUPS)[name]())
        (folder / f"{name}.json").write_text(text(cases), encoding="utf-8")


def make(names: Sequence[str], folder: Path, pinned: bool = True) -> None:
    """`make_here` in a process with pinned kernels; trainings go to `folder`, which processes may share."""
    if not names:
        return
    environment = os.environ | (PINNED if pinned else {}) | {"AUXLEARN_RUNS": str(folder / "runs")}
    asked = [sys.executable, str(HERE / "golden.py"), "--into", str(folder), *names]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"golden values of {', '.join(names)}: {done.stderr[-3000:]}")


def moved(names: Sequence[str], workers: int, write: bool = False) -> dict[str, list[str]]:
    """By group, how its cases differ from those stored; the files made anew where asked."""
    out = {}
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(workers) as pool:
        parts = [[name for name in part if name in names] for part in PARTS]
        asked = [pool.submit(make, part, Path(folder)) for part in parts]
        if bf16():
            asked.append(pool.submit(make, [name for name in UNPINNED if name in names], Path(folder), False))
        for each in asked:
            each.result()
        for name in names:
            file = Path(folder) / f"{name}.json"
            if not file.is_file():  # this processor cannot
                continue
            old, new = stored(name), json.loads(file.read_text(encoding="utf-8"))
            out[name] = differences(old, new, max(TOLERANCE.get(name, USUAL), 0.0 if at_home() else ELSEWHERE))
            if write and out[name] and name not in PART_OF:
                VALUES.mkdir(exist_ok=True)
                shutil.copyfile(file, VALUES / file.name)
    return out


def index() -> dict[str, str]:
    """The arm that each case of a switch is of, so that `auxlearn verify` can tell whose results have moved."""
    import arms_and_switches

    return {name: arm for name, (arm, _) in arms_and_switches.SWITCHES.items()} | {"pooler": "single"}


def bf16() -> bool:
    """Whether this processor multiplies in bf16."""
    from auxlearn.training.shared_parameters import has_bf16

    return has_bf16("cpu")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="groups of cases; all where none is named")
    parser.add_argument("--write", action="store_true", help="make the files anew")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--into", type=Path, help="make these groups in this process, as it is, and compare nothing")
    asked = parser.parse_args()
    if asked.into:
        make_here(asked.names, asked.into)
        return 0
    if asked.write:
        INDEX.write_text(json.dumps(index(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    begun = time.monotonic()
    found = moved(asked.names or NAMES, asked.workers, asked.write)
    for name, lines in found.items():
        print(f"{name}: {len(lines)} values moved" if lines else f"{name}: unchanged")
        print("".join(f"  {line}\n" for line in lines[:20]), end="")
    print(f"{time.monotonic() - begun:.0f} s")
    return 0 if asked.write else int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
