"""A model's folder is copied with what its links lead to, unless that is not the model's."""

from pathlib import Path

import pytest

from tiny import save_tiny
from uncollapse.attention.temperature import Temperature
from uncollapse.checkpoints import fix
from uncollapse.copies import copy_model
from uncollapse.errors import ModelError
from uncollapse.exporting.originals import copy_licences, write_card

SECRET = "root:x:0:0"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a file in it, beside one and a folder that are not its own."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private/passwd").write_text(SECRET)
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "1_Pooling/config.json").write_text("{}")
    return folder


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A snapshot in the hub's cache, beside another model's."""
    for name in ("models--a--b", "models--other"):
        (tmp_path / name / "blobs").mkdir(parents=True)
        (tmp_path / name / "blobs/0a1b").write_text(name)
    folder = tmp_path / "models--a--b/snapshots/rev"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "config.json").symlink_to("../../blobs/0a1b")
    (folder / "1_Pooling/config.json").symlink_to("../../../blobs/0a1b")
    (tmp_path / "models--a--b/refs").mkdir()
    (tmp_path / "models--a--b/refs/main").write_text("rev")
    return folder


def copied(source: Path, part: Path, *, weights: bool = False, home: Path | None = None) -> dict[str, str]:
    """What the copy holds, as files and not as links."""
    tuple(copy_model(source, part, weights=weights, home=home))
    files = [path for path in part.rglob("*") if not path.is_dir()]
    assert not any(path.is_symlink() for path in part.rglob("*"))
    return {path.relative_to(part).as_posix(): path.read_text() for path in files}


@pytest.mark.parametrize("absolute", [False, True])
def test_links_within_the_folder_are_followed(model: Path, tmp_path: Path, absolute: bool) -> None:
    start = str(model) if absolute else "."
    (model / "config.json").symlink_to(f"{start}/1_Pooling/config.json")
    (model / "2_Pooling").symlink_to(f"{start}/1_Pooling")
    wanted = dict.fromkeys(("1_Pooling/config.json", "2_Pooling/config.json", "config.json"), "{}")
    assert copied(model, tmp_path / "part") == wanted
    (tmp_path / "link").symlink_to(model)
    assert copied(tmp_path / "link", tmp_path / "again") == wanted


def test_files_of_a_snapshot_are_the_blobs_beside_it(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"config.json": "models--a--b", "1_Pooling/config.json": "models--a--b"}
    assert copied(snapshot, tmp_path / "part") == wanted
    monkeypatch.chdir(snapshot.parent)
    assert copied(Path("rev"), tmp_path / "relative") == wanted
    (tmp_path / "disk").mkdir()
    (snapshot.parents[1] / "blobs").rename(tmp_path / "disk/blobs")
    (snapshot.parents[1] / "blobs").symlink_to(tmp_path / "disk/blobs")
    assert copied(snapshot, tmp_path / "moved") == wanted
    assert copied(snapshot / "1_Pooling", tmp_path / "module", home=snapshot) == {"config.json": "models--a--b"}


@pytest.mark.parametrize("target", ["../../private/passwd", "{root}/private/passwd", "../a_link_inside"])
def test_a_linked_file_that_is_not_the_models_is_refused_by_name(model: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "between").symlink_to("private")
    (model / "1_Pooling/notes.txt").symlink_to(target.format(root=tmp_path))
    name = "1_Pooling/notes.txt"
    if "inside" in target:
        name = "a_link_inside"
        (model / name).symlink_to("../between/passwd")
    with pytest.raises(ModelError) as told:
        copied(model, tmp_path / "part")
    assert str(told.value) == (
        f"Expected all of the model in its folder, but {name!r} in {str(model)!r} leads out of it, to "
        f"{str(tmp_path / 'private/passwd')!r}, which would be copied into the new model. If it belongs to the model, "
        "put a copy of it in the place of the link; if not, remove the link."
    )
    assert not any(SECRET in path.read_text() for path in (tmp_path / "part").rglob("*") if path.is_file())


@pytest.mark.parametrize("place", ["more", "1_Pooling/more"])
def test_a_linked_folder_that_is_not_the_models_is_refused_by_name(model: Path, tmp_path: Path, place: str) -> None:
    (model / place).symlink_to(tmp_path / "private")
    with pytest.raises(ModelError, match=f"but '{place}' in '.*model' leads out of it, to '.*private', which"):
        copied(model, tmp_path / "part")
    assert not list((tmp_path / "part").rglob("passwd"))


@pytest.mark.parametrize(
    "target", ["../../../models--other/blobs/0a1b", "../../refs/main", "../../../private", "../other/config.json"]
)
def test_a_snapshot_may_not_lead_to_anything_but_its_blobs(snapshot: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "private").write_text(SECRET)
    (snapshot.parent / "other").mkdir()
    (snapshot.parent / "other/config.json").write_text("{}")
    (snapshot / "notes.txt").symlink_to(target)
    with pytest.raises(ModelError, match="but 'notes.txt' in '.*rev' leads out of it"):
        copied(snapshot, tmp_path / "part")


def test_blobs_beside_a_folder_that_is_no_snapshot_are_not_its_own(model: Path, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/0a1b").write_text(SECRET)
    (model / "notes.txt").symlink_to("../blobs/0a1b")
    with pytest.raises(ModelError, match=r"but 'notes\.txt' in"):
        copied(model, tmp_path / "part")


def test_what_is_not_copied_may_lead_anywhere(model: Path, tmp_path: Path) -> None:
    (model / "pytorch_model.bin").symlink_to("../private/passwd")
    (model / ".git").symlink_to("../private")
    (model / "gone").symlink_to("../nowhere")
    assert copied(model, tmp_path / "part", weights=True) == {"1_Pooling/config.json": "{}"}
    with pytest.raises(ModelError, match=r"but 'pytorch_model\.bin' in"):
        copied(model, tmp_path / "again", weights=False)


@pytest.mark.parametrize("path", ["../private", "{root}/private"])
def test_a_module_whose_place_is_not_the_models_is_refused(model: Path, tmp_path: Path, path: str) -> None:
    with pytest.raises(ModelError, match=r"but '\.\./private' in '.*model' leads out of it"):
        copied(model / path.format(root=tmp_path), tmp_path / "part", home=model)
    assert not (tmp_path / "part").exists()


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE.txt", "LICENSES/MIT"])
def test_licences_that_are_not_the_models_are_refused(model: Path, tmp_path: Path, name: str) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).symlink_to(tmp_path / "private/passwd")
    with pytest.raises(ModelError, match=f"but '{name}' in '.*model' leads out of it"):
        copy_licences(model, tmp_path / "part")
    assert not any(path.is_file() for path in (tmp_path / "part").rglob("*"))


def test_a_card_that_is_not_the_models_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    write_card(tmp_path / "part", model, "## New\n")
    (model / "README.md").symlink_to("../private/passwd")
    with pytest.raises(ModelError, match=r"but 'README\.md' in '.*model' leads out of it"):
        write_card(tmp_path / "part", model, "## New\n")
    assert SECRET not in (tmp_path / "part/README.md").read_text()


def test_fix_refuses_such_a_link_and_leaves_nothing(tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "source")
    (tmp_path / "passwd").write_text(SECRET)
    (source / "notes.txt").symlink_to("../passwd")
    with pytest.raises(ModelError, match=r"but 'notes\.txt' in '.*source' leads out of it"):
        fix(str(source), Temperature(0.8), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"source", "passwd"}
