"""The house: which package may import which, what importing costs, and which words may stand where."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSE = ROOT / "headroles"
# The layers, and the packages inside each: one imports only from those before it; a module in the layer itself counts as one.
ORDER = {
    "errors": [],
    "settings": [],
    "jobs": [],
    "core": ["limits", "display", "registry", "text", "heads", "patterns", "outputs", "roles", "records", "readings", "surveys"],
    "hub": [
        "plain_files",
        "http",
        "packages",
        "gguf_reader",
        "gguf",
        "gguf_config",
        "weights",
        "repository",
        "download",
        "cache",
        "dataset",
        "sync",
        "record_store",
        "training_store",
        "atlas_store",
    ],
    "models": [
        "layer_kinds",
        "zero_gpu",
        "untrusted",
        "loading",
        "reading",
        "probes",
        "interventions",
        "scoring",
        "model_check",
        "worker_main",
        "model_pool",
    ],
    "render": ["wording", "html", "figures", "page", "surveys", "api", "files"],
    "summary": [],
    "interventions": [],
    "explorer": [],
    "notebook": [],
    "server": ["addresses", "gate", "page", "api", "layout", "launch"],
    "__main__": [],
}
WALLS = {
    "errors": set(),
    "settings": {"errors"},
    "jobs": {"errors"},
    "core": {"errors"},
    "hub": {"errors", "settings", "jobs", "core"},
    "models": {"errors", "settings", "jobs", "core", "hub"},
    "render": {"errors", "jobs", "core"},
    "summary": {"errors", "core", "hub"},
    "interventions": {"errors", "core", "models"},
    "explorer": {"errors", "settings", "jobs", "core", "hub", "models", "interventions"},
    "notebook": {"core", "render"},
    "server": {"errors", "settings", "jobs", "core", "hub", "models", "render", "interventions", "explorer"},
    "__main__": {"errors", "settings", "hub", "server"},
}
FORBIDDEN = {
    "errors": {"torch"},
    "settings": {"torch", "transformers"},
    "jobs": {"torch", "transformers"},
    "core": {"transformers", "huggingface_hub", "gradio", "markupsafe", "jinja2", "matplotlib", "pyvene"},
    "hub": {"transformers", "gradio", "markupsafe", "matplotlib", "pyvene"},
    "models": {"gradio", "markupsafe", "matplotlib"},
    "render": {"transformers", "huggingface_hub", "gradio", "pyvene"},
    "summary": {"transformers", "gradio", "pyvene"},
    "interventions": {"transformers", "huggingface_hub", "gradio", "markupsafe", "matplotlib", "pyvene"},
    "explorer": {"gradio", "markupsafe", "matplotlib"},
    "notebook": {"transformers", "huggingface_hub", "gradio", "pyvene"},
    "server": {"matplotlib", "pyvene"},
    "__main__": {"torch", "transformers", "gradio"},
}
MAX_MODULES = 16  # of a package: more are no longer taken in at a glance
MIN_LINES = 25  # a shorter module is a part of another one
SHORT = {"limits"}  # several layers name them, and none of them owns them
MODULES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for path in HOUSE.rglob("*.py")
    if "assets" not in path.parts
)
MODULES = [module for module in MODULES if not module.endswith("__init__")]


def file_of(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, absolute."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # the analysis is installed under another name than it has here, so its own modules call each other relatively
            assert (node.level >= 1) if HOUSE not in path.parents and node.level else node.level == 0, path.name
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def house_imports(module: str) -> set[str]:
    """The modules of the house that a module imports."""
    return imports(file_of(module)) & set(MODULES)


def layer(module: str) -> str:
    return module.split(".")[1]


def package(module: str) -> str:
    """The package of a layer that a module lies in; its own name where it lies in the layer itself, or is one."""
    return [*module.split("."), ""][2]


def test_every_module_stands_in_a_layer_and_a_package_that_have_walls():
    assert {layer(module) for module in MODULES} == set(ORDER) == set(WALLS) == set(FORBIDDEN)
    for name, packages in ORDER.items():
        assert {package(module) for module in MODULES if layer(module) == name} - {""} == set(packages), name


def test_walls_let_through_only_what_comes_before():
    for name, allowed in WALLS.items():
        assert allowed <= set(list(ORDER)[: list(ORDER).index(name)]), name


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_packages_of_its_layer_that_come_before(module):
    packages = ORDER[layer(module)]
    for other in house_imports(module):
        if layer(other) == layer(module) and package(other) != package(module):
            assert packages.index(package(other)) < packages.index(package(module)), f"{module} imports {other}"


@pytest.mark.parametrize("folder", sorted({file_of(module).parent for module in MODULES}), ids=lambda path: path.name)
def test_a_folder_is_taken_in_at_a_glance_and_its_modules_are_worth_a_file(folder):
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MAX_MODULES
    short = {path.stem for path in modules if len(path.read_text("utf-8").splitlines()) < MIN_LINES}
    assert not short - SHORT, "too short for a file of their own"


def test_no_public_class_name_stands_for_two_things():
    homes: dict[str, list[str]] = {}
    for path in [*HOUSE.rglob("*.py"), *(ROOT / "analysis").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert not {name: paths for name, paths in homes.items() if len(paths) > 1}


def test_the_core_imports_nothing_by_a_name_that_it_makes():
    for module in MODULES:
        if layer(module) == "core":
            tree = ast.parse(file_of(module).read_text("utf-8"))
            called = {
                getattr(node.func, "id", getattr(node.func, "attr", "")) for node in ast.walk(tree) if isinstance(node, ast.Call)
            }
            assert not called & {"import_module", "__import__"}, module
            assert not {name.split(".")[0] for name in imports(file_of(module))} & {"importlib", "pkgutil", "runpy"}, module


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_through_the_walls_of_its_layer(module):
    assert {layer(other) for other in house_imports(module)} <= WALLS[layer(module)] | {layer(module)}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_nothing_that_its_layer_must_not_know(module):
    roots = {name.split(".")[0] for name in imports(file_of(module))}
    assert not roots & (FORBIDDEN[layer(module)] | {"transformer_lens", "analysis", "tests", "bench"})


def test_no_module_imports_one_that_imports_it():
    reached: dict[str, set[str]] = {}

    def reach(module: str, path: tuple[str, ...] = ()) -> set[str]:
        assert module not in path, f"a ring: {' -> '.join((*path, module))}"
        if module not in reached:
            direct = house_imports(module)
            reached[module] = direct.union(*(reach(other, (*path, module)) for other in direct))
        return reached[module]

    for module in MODULES:
        assert module not in reach(module)


def test_only_the_server_imports_gradio():
    for module in MODULES:
        if layer(module) != "server":
            assert not any(name.split(".")[0] == "gradio" for name in imports(file_of(module))), module


def test_nobody_uses_pyplot():
    for path in [*HOUSE.rglob("*.py"), *(ROOT / "analysis").rglob("*.py")]:
        assert "matplotlib.pyplot" not in imports(path)


def test_the_analysis_imports_neither_explorer_nor_server():
    allowed = {"errors", "settings", "jobs", "core", "hub", "models", "render"}  # render: the dataset's picture is the page's map
    for path in (ROOT / "analysis").rglob("*.py"):
        used = {name for name in imports(path) if name in MODULES}
        assert {layer(name) for name in used} <= allowed, path.name


@pytest.mark.processes
@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (
            [module for module in MODULES if layer(module) == "core"],
            ["gradio", "matplotlib", "transformers", "pyvene", "huggingface_hub", "markupsafe"],
        ),
        (["headroles.summary"], ["gradio", "matplotlib", "transformers", "pyvene"]),
        (["headroles.explorer"], ["gradio", "transformer_lens", "analysis"]),
        (["headroles.server.layout"], ["transformer_lens", "analysis"]),
    ],
    ids=["core", "summary", "explorer", "page"],
)
def test_importing_does_not_drag_in(modules, absent):
    """One process imports them one after the other; it names the first that brings something along."""
    code = f"""
import importlib, sys
for module in {modules}:
    importlib.import_module(module)
    if found := [name for name in {absent} if name in sys.modules]:
        sys.exit(f"{{module}} drags in {{found}}")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_requirements_of_the_run_time_hold_nothing_of_the_analysis():
    text = (ROOT / "requirements.txt").read_text("utf-8")
    assert not any(name in text for name in ("transformer-lens", "pytest", "playwright", "pyright"))
