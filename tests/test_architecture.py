"""The house: who may import whom, what importing costs, and which words may stand where."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Bottom up. A module imports only modules that stand before it, and none of a higher floor.
FLOORS = {
    0: ["errors", "attention", "roles", "readings", "registry", "jobs", "settings", "turns"],
    1: ["categories", "scoring", "literature", "comparison", "place", "moves"],
    2: [
        *("hub", "repository", "download", "published", "models", "accelerator", "probes", "capture", "sweep"),
        *("store", "pool", "wording", "figure_text", "pixels", "heatmaps", "html"),
        *("lessons", "panel", "model_map", "head_page", "compare_panel"),
    ],
    3: ["explorer", "results", "api", "exports", "limits", "drawing"],
    4: ["endpoints", "ui"],
}
ORDER = [module for floor in FLOORS.values() for module in floor]
OFFLINE = [f"headroles.{module}" for floor in (0, 1, 2) for module in FLOORS[floor]]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, absolute."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def project(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("headroles.") and name.split(".")[1] in ORDER}


def test_every_module_has_a_floor():
    assert {path.stem for path in (ROOT / "headroles").glob("*.py")} - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("module", ORDER)
def test_a_module_imports_only_from_below(module):
    allowed = set(ORDER[: ORDER.index(module)])
    assert project(imports(ROOT / "headroles" / f"{module}.py")) <= allowed


def test_the_run_time_imports_neither_transformer_lens_nor_the_analysis():
    for path in [ROOT / "app.py", *(ROOT / "headroles").glob("*.py")]:
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & {"transformer_lens", "analysis", "tests"}, path.name


def test_only_the_page_and_the_endpoints_import_gradio():
    for path in (ROOT / "headroles").glob("*.py"):
        assert path.stem in ("ui", "endpoints") or not any(name.split(".")[0] == "gradio" for name in imports(path))


def test_nobody_uses_pyplot():
    for path in [*(ROOT / "headroles").glob("*.py"), *(ROOT / "analysis").glob("*.py")]:
        assert "matplotlib.pyplot" not in imports(path)


def test_the_analysis_reaches_no_higher_than_floor_two():
    for path in (ROOT / "analysis").glob("*.py"):
        for name in imports(path):
            if name.startswith("headroles."):
                assert name in OFFLINE or name.rsplit(".", 1)[0] in OFFLINE, f"{path.name} imports {name}"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("headroles.roles", ["gradio", "matplotlib", "transformers", "pyvene"]),
        ("headroles.scoring", ["gradio", "matplotlib", "transformers", "pyvene"]),
        ("headroles.explorer", ["gradio", "transformer_lens", "analysis"]),
        ("headroles.ui", ["transformer_lens", "analysis"]),
    ],
)
def test_importing_does_not_drag_in(module, absent):
    code = f"import sys, {module}; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_requirements_of_the_run_time_hold_nothing_of_the_analysis():
    text = (ROOT / "requirements.txt").read_text("utf-8")
    assert not any(name in text for name in ("transformer-lens", "pytest", "playwright", "pyright"))
