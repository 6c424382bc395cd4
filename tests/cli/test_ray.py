"""`self1e segment --ray`, on a cluster of two nodes of this machine, against one process; and the example."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli, assert_one_sentence
from PIL import Image

from self1e.cli.segment_ray import SETTINGS, load_there
from self1e.cli.terminal import CliError
from self1e.parallel import ProcessError
from self1e.segment.journal import JOURNAL_NAME
from self1e.segment.on_ray import segment_on_ray, shares
from self1e.segment.options import LoadOptions
from self1e.segment.results import Segmentation
from self1e.segment.segmenter import Segmenter
from self1e.version import __version__

ROOT = Path(__file__).parents[2]
FORMATS = "mask,json,labelme,coco,csv,parquet"
PROMPT = "the cat"

Outcome = subprocess.CompletedProcess[str]
Run = Callable[..., Outcome]


# ------------------------------------------------------------------------------------------------- without a cluster


def test_shares_of_a_cluster() -> None:
    """As many actors as there are GPUs or machines; what is left over on a machine is left idle."""
    assert shares([{"CPU": 4.0}, {"memory": 1.0}, {"CPU": 6.0}], None, "auto") == (2, 4, 0)
    assert shares([{"CPU": 3}, {"CPU": 3}], 3, "auto") == (3, 1, 0)
    assert shares([{"CPU": 16, "GPU": 8}, {"CPU": 16, "GPU": 8}], None, "auto") == (16, 2, 1)
    assert shares([{"CPU": 16, "GPU": 2}, {"CPU": 64}], None, "cuda") == (2, 8, 1)
    assert shares([{"CPU": 16, "GPU": 2}, {"CPU": 64}], None, "cpu") == (2, 32, 0)
    assert shares([{"CPU": 16, "GPU": 2}], 5, "auto") == (5, 3, 1 / 3)
    for machines, processes, device, words in (
        ([{"CPU": 1}, {"CPU": 1}], 3, "auto", "no room for 3 processes.*2 machines have 2 CPUs, which is room for 2"),
        ([{"CPU": 2, "GPU": 4}], None, "auto", "no room for 4 processes.*room for 2"),
        ([{}], None, "auto", "no room for 1 processes.*have 0 CPUs"),
        ([{"CPU": 8}], None, "cuda", "has a GPU"),
    ):
        with pytest.raises(ProcessError, match=words):
            shares(machines, processes, device)


def test_machines_have_to_see_the_same(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    load = partial(load_there, str(tiny_model_folder), LoadOptions(), tmp_path.parent, device="cpu")
    with pytest.raises(CliError, match=r"has self1e .*, this one 0\.0\.1: install the same"):
        load([], "0.0.1")
    with pytest.raises(CliError, match=r"does not see .*gone.png: all machines of a Ray cluster need the same folders"):
        load([tmp_path, tmp_path / "gone.png"], __version__)
    assert Path.cwd() == tmp_path
    assert isinstance(load([tmp_path], __version__), Segmenter)
    assert Path.cwd() == tmp_path.parent  # relative paths begin where they do here


def test_without_ray(cli: Cli, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in SETTINGS:
        monkeypatch.setenv(name, "")  # so that it is put back
    outcome = cli("segment", picture, "-p", "x", "--ray", "auto", "--out", tmp_path / "out")
    assert_one_sentence(outcome, "--ray needs another package, ray: pip install 'self1e[ray]'")


# ---------------------------------------------------------------------------------------------------- with a cluster


NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Two nodes with a CPU each, so that two actors leave none; on loopback only. Ray's own cluster for tests."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # names of its sockets are too long elsewhere
    (folder / "ray").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # or 127.0.0.1 does not connect; read at the import
        pytest.importorskip("ray.data", reason="needs Ray (self1e[ray])")
        from ray.cluster_utils import Cluster

        found = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        try:
            found.add_node(**NODE)
            yield found
        finally:
            found.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(nodes: Any) -> str:
    """Its address."""
    return str(nodes.address)


@pytest.fixture
def third(nodes: Any) -> Iterator[Callable[[], None]]:
    """A third node. What has it gone, without a word, as if somebody had pulled its plug."""
    node = nodes.add_node(**NODE)

    def remove() -> None:
        if node in nodes.worker_nodes:
            nodes.remove_node(node, allow_graceful=False)

    yield remove
    remove()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures in two folders, half of them of a cat, one of them broken."""
    folder = tmp_path_factory.mktemp("job") / "photos"
    (folder / "deep").mkdir(parents=True)
    for number in range(40):
        with Image.open(ROOT / "examples" / "pictures" / ("cat.jpg" if number % 4 < 2 else "coffee.jpg")) as picture:
            picture.resize((120 + number, 90)).save(folder / ("deep" if number % 2 else "") / f"{number:02}.png")
    (folder / "deep" / "11.png").write_bytes(b"broken")
    return folder


def started(photos: Path, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "self1e", "segment", *arguments, "-p", PROMPT, "-p", "a lute", "--model", "mini"]
    return subprocess.Popen(
        [str(each) for each in command],
        cwd=photos.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
        **options,
    )


def ended(process: subprocess.Popen[str]) -> Outcome:
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def whole(photos: Path) -> Outcome:
    """What one process does."""
    outcome = ended(started(photos, "photos", "-r", "--format", FORMATS, "--out", "whole"))
    assert outcome.returncode == 2 and "11.png" in outcome.stderr
    return outcome


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the list of what is done, in which times stand."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != JOURNAL_NAME]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_as_whole(outcome: Outcome, out: Path, whole: Outcome) -> None:
    """All that was said and written is as by one process."""
    assert outcome.returncode == whole.returncode, outcome.stderr
    assert outcome.stdout.replace(out.name, "whole") == whole.stdout
    assert outcome.stderr == whole.stderr
    assert contents(out) == contents(out.parent / "whole")


def begun(process: subprocess.Popen[str], out: Path, pictures: int) -> None:
    """Comes back when so many pictures are done and the work still goes on."""
    journal = out / JOURNAL_NAME
    while not journal.exists() or journal.read_bytes().count(b'"stem"') < pictures:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.heavy
@pytest.mark.parametrize("processes", [None, 2, 1])
def test_a_cluster_gives_what_one_process_gives(
    cluster: str, photos: Path, whole: Outcome, processes: int | None
) -> None:
    """Also when its actors hold all CPUs that there are."""
    out = photos.parent / f"ray-{processes}"
    shared = ["--processes", processes] if processes else []
    outcome = ended(started(photos, "photos", "-r", "--format", FORMATS, "--out", out.name, "--ray", cluster, *shared))
    assert_as_whole(outcome, out, whole)
    assert "note: " in whole.stderr and "39 of 78 found" in whole.stdout and len(contents(out)) == 4 + 39 * 5


@pytest.mark.heavy
def test_an_actor_that_is_killed_costs_its_pictures_some_time(cluster: str, photos: Path, whole: Outcome) -> None:
    import psutil

    out = photos.parent / "killed"
    process = started(photos, "photos", "-r", "--format", FORMATS, "--out", out.name, "--ray", cluster)
    begun(process, out, 4)
    actors = [each for each in psutil.Process().children(recursive=True) if "_Actor" in " ".join(each.cmdline())]
    assert len(actors) == 2
    actors[0].kill()
    assert_as_whole(ended(process), out, whole)


@pytest.mark.heavy
def test_a_machine_that_is_gone_costs_its_pictures_some_time(
    cluster: str, third: Callable[[], None], photos: Path, whole: Outcome
) -> None:
    out = photos.parent / "gone"
    arguments = ("photos", "-r", "--format", FORMATS, "--out", out.name, "--processes", 3)
    process = started(photos, *arguments, "--ray", cluster)
    begun(process, out, 4)
    third()
    assert_as_whole(ended(process), out, whole)


@pytest.mark.heavy
def test_a_job_that_was_ended_goes_on(cluster: str, photos: Path, whole: Outcome) -> None:
    """By Ctrl-C, by kill -9; and at last without the cluster."""
    out = photos.parent / "resumed"
    arguments = ("photos", "-r", "--format", FORMATS, "--out", out.name)
    for number, how in ((4, signal.SIGINT), (20, signal.SIGKILL)):
        process = started(photos, *arguments, "--ray", cluster)
        begun(process, out, number)
        process.send_signal(how)
        outcome = ended(process)
        assert outcome.returncode == (130 if how == signal.SIGINT else -how)
        assert "Traceback" not in outcome.stderr
    assert not (out / "failed.csv").exists() or "11.png" in (out / "failed.csv").read_text()
    before = (out / JOURNAL_NAME).read_bytes().count(b'"stem"')
    assert 20 <= before < 39
    outcome = ended(started(photos, *arguments))
    assert f"note: {before} of 40 pictures were done before\n" in outcome.stderr
    assert outcome.returncode == whole.returncode
    assert contents(out) == contents(photos.parent / "whole")


@pytest.mark.heavy
def test_lines_of_json_from_a_table_of_pictures(cluster: str, photos: Path) -> None:
    """Neither pictures nor results have a folder that the nodes would have to share."""
    from pyarrow import table
    from pyarrow.parquet import write_table

    files = sorted(photos.rglob("*.png"))
    write_table(
        table({"image": [file.read_bytes() for file in files]}), photos.parent / "all.parquet", row_group_size=8
    )
    one, several = (ended(started(photos, "all.parquet", "--format", "json", *ray)) for ray in ((), ("--ray", cluster)))
    assert one.returncode == several.returncode == 2
    assert one.stdout == several.stdout and one.stdout.count("\n") == 2 * 39
    assert one.stderr == several.stderr and "all.parquet, row" in one.stderr


@pytest.mark.heavy
def test_what_cannot_be_done_is_said_in_a_sentence(cluster: str, photos: Path, tmp_path: Path) -> None:
    for address, words in (
        ("127.0.0.1:9", ["cannot connect with a Ray cluster at '127.0.0.1:9'", "ray start --head"]),
        (cluster, ["no room for 3 processes", "room for 2", "Use fewer processes"]),
    ):
        outcome = ended(started(photos, "photos", "--out", tmp_path / "out", "--ray", address, "--processes", 3))
        assert outcome.returncode == 2 and outcome.stdout == "" and "Traceback" not in outcome.stderr
        error = outcome.stderr.splitlines()[-1]
        assert error.startswith("error: ") and all(each in error for each in words), outcome.stderr
        assert [path.name for path in (tmp_path / "out").iterdir()] in ([], [JOURNAL_NAME])


@pytest.fixture
def connected(cluster: str) -> Iterator[None]:
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the nodes do not import tests
    ray.init(address=cluster, log_to_driver=False)
    yield
    ray.shutdown()
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def held(connected: None) -> Iterator[Callable[[], None]]:
    """The CPUs of both nodes are held by others. What sets them free."""
    from ray.util import placement_group, remove_placement_group

    others = placement_group([{"CPU": 1}] * 2)
    assert others.wait(30)
    yield partial(remove_placement_group, others)
    remove_placement_group(others)


def killed_at(place: int, index: int, result: Segmentation) -> int:
    if index == place:
        os.kill(os.getpid(), signal.SIGKILL)
    return result.area


def dies(device: object) -> Segmenter:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def fails(index: int, result: Segmentation) -> None:
    raise OSError("no space left on device")


@pytest.mark.heavy
def test_a_picture_that_kills_is_found_out(connected: None, photos: Path) -> None:
    """And takes no other with it."""
    pictures = sorted(path for path in photos.rglob("*.png") if path.name != "11.png")[:20]
    load = partial(Segmenter.from_pretrained, "nano")
    done = list(segment_on_ray(load, pictures, PROMPT, finish=partial(killed_at, 3), device="cpu"))
    assert [each.index for each in done] == list(range(20))
    assert done[3].source == pictures[3] and isinstance(done[3].error, ProcessError)
    assert str(done[3].error) == f"actors of Ray died at {pictures[3]}: if memory is short, use fewer processes"
    segmenter = load()
    for each in done[:3] + done[4:]:
        assert each.error is None and each.value == segmenter.segment(pictures[each.index], PROMPT).area


@pytest.mark.heavy
def test_errors_of_actors_are_those_of_one_process(connected: None, photos: Path) -> None:
    pictures = sorted(photos.glob("*.png"))
    load = partial(Segmenter.from_pretrained, "nano")
    with pytest.raises(OSError, match="no space left on device") as caught:
        list(segment_on_ray(load, pictures, PROMPT, finish=fails))
    assert "in fails" in caught.value.__notes__[0]
    with pytest.raises(ValueError, match="no-such-model"):
        list(segment_on_ray(partial(Segmenter.from_pretrained, "no-such-model"), pictures, PROMPT))
    with pytest.raises(ProcessError, match=r"an actor of Ray died 3 times before it had a model.*Ray says: [^\n]+$"):
        list(segment_on_ray(dies, pictures, PROMPT))  # and does not begin for ever
    assert list(segment_on_ray(load, [], PROMPT)) == []


@pytest.mark.heavy
def test_cpus_that_others_hold(connected: None, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray alone would wait for ever, and say nothing."""
    from ray.util import placement_group, remove_placement_group

    monkeypatch.setattr("self1e.segment.on_ray.PATIENCE", 2)
    held = placement_group([{"CPU": 1}])
    assert held.wait(30)
    load = partial(Segmenter.from_pretrained, "nano")
    try:
        with pytest.raises(ProcessError, match="no room now for 2 processes with 1 CPUs each: others hold them"):
            list(segment_on_ray(load, sorted(photos.glob("*.png")), PROMPT))
        assert len(list(segment_on_ray(load, sorted(photos.glob("*.png")), PROMPT, processes=1))) == 20
    finally:
        remove_placement_group(held)


@pytest.mark.heavy
@pytest.mark.parametrize("another", [True, False])
def test_all_machines_that_segmented_are_gone(
    held: Callable[[], None],
    third: Callable[[], None],
    photos: Path,
    another: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The job waits for another, but not for ever."""
    monkeypatch.setattr("self1e.segment.on_ray.LONGEST_GAP", 60 if another else 3)
    job = segment_on_ray(
        partial(Segmenter.from_pretrained, "nano"), sorted(photos.glob("*.png")), PROMPT, processes=1, device="cpu"
    )
    assert next(job).index == 0
    third()
    if another:
        held()
        assert [each.index for each in job] == list(range(1, 20))
    else:
        with pytest.raises(ProcessError, match=r"all machines .* are gone, and none came .* within 0\.05 minutes"):
            list(job)


@pytest.mark.heavy
def test_the_example(cluster: str, tmp_path: Path) -> None:
    """A pipeline of one's own gives the same masks."""
    from pyarrow.parquet import read_table

    for name in ("cat.jpg", "coffee.jpg"):
        shutil.copy(ROOT / "examples" / "pictures" / name, tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    command = [sys.executable, ROOT / "examples" / "ray_segment.py", tmp_path, tmp_path / "out", "the cat"]
    environment = {**os.environ, "RAY_ADDRESS": cluster, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    subprocess.run(command, check=True, timeout=300, env=environment)
    segmenter = Segmenter.from_pretrained()
    rows = {Path(row["path"]).name: row for row in read_table(tmp_path / "out").to_pylist()}
    assert rows.keys() == {"cat.jpg", "coffee.jpg", "broken.jpg"}
    assert "no picture" in rows["broken.jpg"]["error"] and rows["broken.jpg"]["result"] == ""
    for name in ("cat.jpg", "coffee.jpg"):
        assert json.loads(rows[name]["result"]) == segmenter.segment(tmp_path / name, "the cat").to_dict()
        assert rows[name]["error"] == ""
