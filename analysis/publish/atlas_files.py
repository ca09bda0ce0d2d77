"""Writes the atlas of a folder of records: what share of heads plays which role, over all its models.

FOLDER/atlas/atlas.jsonl has one line for each model, and a Parquet file beside it the same as rows. A record that is new or
changed changes only its own line and file.
"""

from contextlib import suppress
from pathlib import Path

from headroles.core.records.atomic_files import clear_halves, read_ordinary, write_whole
from headroles.core.records.head_categories import HeadCategories
from headroles.core.records.record_files import read_record
from headroles.core.surveys.atlas import Atlas, build_atlas, compute_spread
from headroles.core.surveys.atlas_entries import MAX_ATLAS_BYTES, AtlasEntry, entries_to_lines, known_entries, update_entries
from headroles.errors import HeadRolesError, InvalidInputError
from headroles.hub.dataset import ATLAS_PATH
from headroles.render.files.exports import KINDS, Kind, atlas_sheet_file
from headroles.render.surveys.atlas_text import tell_atlas, tell_families, tell_spread, tell_unusual

from . import dataset_files as dataset


def run(folder: Path, figure: Path | None = None) -> tuple[str, list[str]]:
    """Writes the atlas of a folder; returns a summary, and a sentence for every record that could not be read.

    Args:
        folder: of the records.
        figure: where to draw it as well, a PDF, PNG or SVG.

    Raises:
        InvalidInputError: when there is no record, or the figure is of another kind.
        OSError: when a file cannot be written.
    """
    kind: Kind | None = next((kind for kind in KINDS if figure is not None and figure.suffix == f".{kind}"), None)
    if figure is not None and kind is None:
        raise InvalidInputError(f"{figure} must end in {', '.join(f'.{kind}' for kind in KINDS)}.")
    records, faults = read_folder(folder)
    if not records:
        raise InvalidInputError(f"There is no record in {folder}; `python -m analysis MODEL --out {folder}` makes one.")
    atlas = build_atlas(write(folder, records))
    if figure is not None and kind is not None:
        write_whole(figure, atlas_sheet_file(atlas, kind).content)
    return report(atlas), faults


def write(folder: Path, records: list[HeadCategories]) -> tuple[AtlasEntry, ...]:
    """Writes the files of the atlas; those that are up to date stay untouched.

    Args:
        folder: of the records.
        records: all of them.

    Raises:
        OSError: when a file cannot be written.
    """
    file = folder / ATLAS_PATH
    clear_halves(file.parent)
    old = b""
    with suppress(OSError):
        old = read_ordinary(file, MAX_ATLAS_BYTES)
    known = known_entries(old)
    entries = update_entries(known, records)
    names = {dataset.atlas_path(entry.model): entry for entry in entries}
    for path, entry in names.items():
        if known.get(entry.model) is not entry or not (folder / path).is_file():
            write_whole(folder / path, dataset.atlas_parquet(entry))
    for left in file.parent.glob("*.parquet"):
        if left.relative_to(folder).as_posix() not in names:
            left.unlink()
    if (lines := entries_to_lines(entries)) != old:
        write_whole(file, lines)
    return entries


def read_folder(folder: Path) -> tuple[list[HeadCategories], list[str]]:
    """The records of a folder, and what is wrong with those that cannot be read."""
    records, faults = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            records.append(read_record(path))
        except (HeadRolesError, OSError) as error:
            faults.append(str(error))
    return records, faults


def report(atlas: Atlas) -> str:
    """A summary of the atlas: a line for each role."""
    widest = max(len(role.display_name) for role in atlas.roles)
    rows = []
    for role in atlas.roles:
        shares = compute_spread(role, atlas.entries)
        found = f"found in {atlas.found_in(role)} of {shares.models}"
        rows.append(f"{role.display_name:<{widest}}  {found}  {tell_spread(shares)} of heads")
    return "\n".join([tell_atlas(atlas), *rows, *filter(None, (tell_families(atlas), tell_unusual(atlas)))])
