"""The atlas of a folder: its files follow from the records, and a new record changes its own alone."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analysis.__main__ import main
from analysis.publish.dataset_files import atlas_path
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import record_file_name, write_record
from headroles.core.roles.roles import measured_roles
from headroles.core.surveys.atlas_entries import make_entry, parse_entries
from headroles.hub.dataset import ATLAS_PATH
from tests.fixtures.made_up import made_up


def keep(folder: Path, *records: HeadCategories) -> None:
    for record in records:
        write_record(record, folder / record_file_name(record.model_name))


def times(folder: Path) -> dict[str, int]:
    return {path.name: os.stat(path).st_mtime_ns for path in (folder / "atlas").iterdir()}


def test_a_folder_has_a_line_and_a_view_of_every_record_and_a_new_one_changes_its_own_alone(tmp_path, capsys):
    keep(tmp_path, *made_up(3))
    assert main(["atlas", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("3 models of 3 families (gpt2, gpt_neox, llama)")
    assert sum("found in 3 of 3" in line for line in said.splitlines()) == len(measured_roles())
    content, before = (tmp_path / ATLAS_PATH).read_bytes(), times(tmp_path)
    assert len(parse_entries(content, "a")) == 3
    for record in made_up(3):
        assert pq.read_table(tmp_path / atlas_path(record.model_name)).to_pylist() == list(make_entry(record).rows())
    assert main(["atlas", str(tmp_path)]) == 0
    assert times(tmp_path) == before
    keep(tmp_path, *made_up(4)[3:])
    (tmp_path / record_file_name(made_up(3)[0].model_name)).unlink()
    assert main(["atlas", str(tmp_path)]) == 0
    after = times(tmp_path)
    assert {name for name in after if after[name] != before.get(name)} == {
        "atlas.jsonl",
        Path(atlas_path(made_up(4)[3].model_name)).name,
    }
    assert len(after) == 4
    assert set(content.splitlines()[1:]) < set((tmp_path / ATLAS_PATH).read_bytes().splitlines())


def test_a_broken_record_is_said_and_the_others_counted_and_a_figure_is_drawn(tmp_path, capsys):
    keep(tmp_path, *made_up(1))
    (tmp_path / "broken.json").write_text("{", "utf-8")
    assert main(["atlas", str(tmp_path), "--figure", str(tmp_path / "atlas.pdf")]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: The record broken.json is no JSON")
    assert said.out.startswith("1 model of 1 family (gpt2): which share of its heads")
    assert (tmp_path / "atlas.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize(("more", "said"), [([], "There is no record in"), (["--figure", "a.gif"], "a.gif must end in .png")])
def test_what_cannot_be_done_is_one_sentence(tmp_path, capsys, more, said):
    assert main(["atlas", str(tmp_path), *more]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")
