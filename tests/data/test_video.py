"""Films: layouts, which frames make a clip, and every mistake as one line with its first path and count."""

import builtins
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gssl.config.composing import compose
from gssl.data import video
from gssl.data.clips import column_of, frames_of
from gssl.data.joined import joined
from gssl.data.layout import look
from gssl.data.sources.films import Film, natural
from gssl.data.splits import load_data
from gssl.data.video import Sampling, chosen
from gssl.errors import UsageError
from tests.data import films

T = 8


@pytest.fixture
def load(cfg):
    def make(root: Path, **changes) -> object:
        return load_data(cfg(name="video", root=root, **({"size": 16, "frames": T} | changes)))

    return make


def read(path: Path, size: int = 16, **sampling) -> video.Clips:
    return video.read(Film(path.name, (path.name,)), str(path.parent), Sampling(**({"frames": T} | sampling)), size)


# ── which frames ─────────────────────────────────────────────────────────────────────────────────


def test_frames_are_chosen_by_number_from_the_middle_or_evenly_spread() -> None:
    np.testing.assert_array_equal(chosen(10, None, Sampling(4)), [[3, 4, 5, 6]])
    np.testing.assert_array_equal(chosen(10, None, Sampling(3, stride=4)), [[0, 4, 8]])
    np.testing.assert_array_equal(chosen(9, None, Sampling(3, clips=3)), [[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    assert len(chosen(4, None, Sampling(3, clips=9))) == 2  # there are no more beginnings


def test_frames_are_chosen_by_what_is_shown_at_a_time() -> None:
    """Whatever the rate of a film is: at 10 a second every third of 30, and each twice of 5."""
    fast = chosen(60, np.arange(60) / 30, Sampling(4, fps=10, clips=1))
    assert np.diff(fast[0]).tolist() == [3, 3, 3]
    slow = chosen(10, np.arange(10) / 5, Sampling(4, fps=10, clips=2))
    assert slow[0].tolist() == [0, 0, 1, 1] and np.all(slow[1] >= slow[0])
    uneven = np.array([0.0, 0.1, 0.5, 0.6, 0.7])
    assert chosen(5, uneven, Sampling(7, fps=10, clips=2))[0].tolist() == [0, 1, 1, 1, 1, 2, 3]


def test_pictures_stand_in_natural_order() -> None:
    assert sorted(["10.png", "2.png", "1.png"], key=natural) == ["1.png", "2.png", "10.png"]


# ── formats ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov", ".mkv", ".avi"])
def test_a_film_is_read_frame_by_frame(suffix, tmp_path) -> None:
    frames = films.moving()
    found = read(films.film(tmp_path / f"a{suffix}", frames))
    np.testing.assert_array_equal(found.frames, frames[None])
    assert not found.notes


def test_webm_gif_webp_and_frame_folders(tmp_path) -> None:
    frames = films.moving()
    for path in (films.film(tmp_path / "a.webm", frames), films.gif(tmp_path / "a.gif", frames)):
        off = np.abs(read(path).frames[0].astype(int) - frames)
        assert off.mean() < 4  # colours pass through YUV, or through a palette
    np.testing.assert_array_equal(read(films.gif(tmp_path / "a.webp", frames)).frames[0], frames)
    films.folder(tmp_path / "clip", films.moving(12))
    names = tuple(f"clip/{n}.png" for n in range(1, 13))
    found = video.read(Film("clip", names), str(tmp_path), Sampling(T), 16)
    np.testing.assert_array_equal(found.frames[0], films.moving(12)[2:10])


def test_large_films_are_shrunk_to_twice_the_side(tmp_path) -> None:
    path = films.film(tmp_path / "a.mp4", films.moving(width=64, height=40))
    assert read(path, size=16).frames.shape == (1, T, 32, 51, 3)


def test_a_film_is_turned_as_its_container_says(tmp_path) -> None:
    """A quarter clockwise in the track header: x' = -y, y' = x."""
    frames = films.moving()
    path = films.film(tmp_path / "a.mp4", frames)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    assert struct.unpack(">9i", data[at : at + 36])[0] == 1 << 16
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    np.testing.assert_array_equal(read(path).frames[0], np.rot90(frames, -1, axes=(1, 2)))


def test_gifs_have_times_and_parts_on_the_frame_before(tmp_path) -> None:
    path = films.gif(tmp_path / "a.gif", films.moving(6), [100, 100, 400, 100, 100, 100])
    found = read(path, frames=6, fps=10, clips=2)
    np.testing.assert_array_equal(found.frames[0, 3], found.frames[0, 2])  # shown for four tenths
    assert [kind for kind, _ in read(path, frames=3).notes] == ["variable"]


# ── layouts ──────────────────────────────────────────────────────────────────────────────────────


def test_parts_with_class_folders_become_clips(tmp_path, load) -> None:
    splits = load(films.set_of_films(tmp_path / "a"), groups="{group}_*")
    test = splits.open_test()
    assert splits.columns == ("image", "label", "video") and splits.classes == ["left", "right"]
    assert len(splits.train) + len(splits.val) == len(test) == 12
    assert not set(splits.train.groups) & set(splits.val.groups) and set(test.groups) == {"test0", "test1", "test2"}
    batch = test.fetch(np.arange(3))
    assert batch["video"].shape == (3, T, 20, 24, 3) and batch["image"].shape == (3, 3, 20, 24)
    np.testing.assert_array_equal(batch["video"][:, T // 2].permute(0, 3, 1, 2), batch["image"])
    for i, path in enumerate(test.names[:3]):
        number = int(Path(path).stem.split("_")[1])
        frames = films.moving(start=number, seed=100 + number)
        np.testing.assert_array_equal(batch["video"][i], frames[::-1] if "left" in path else frames)
    assert "2 classes (left 12, right 12)" in splits.summary["found"]


def test_every_frame_is_an_image(tmp_path, load) -> None:
    train = load(films.set_of_films(tmp_path / "a")).train
    frames = frames_of(train)
    assert len(frames) == T * len(train) and frames.columns == ("image", "label") and frames_of(frames) is frames
    np.testing.assert_array_equal(
        frames.fetch(np.arange(T))["image"].permute(0, 2, 3, 1), train.fetch(np.array([0]))["video"][0]
    )
    assert frames.labels[:T].tolist() == [train.labels[0]] * T and column_of(frames) is None


def test_clips_of_two_entries_are_joined(tmp_path, load) -> None:
    splits = load(films.set_of_films(tmp_path / "a"))
    both = joined([splits.train, splits.open_test()])
    np.testing.assert_array_equal(both.contents()[-12:], splits.open_test().contents())
    last = np.array([len(both) - 1])
    np.testing.assert_array_equal(both.fetch(last)["video"], splits.open_test().fetch(np.array([11]))["video"])


def test_frame_folders_of_classes_and_films_of_other_sizes(tmp_path, load) -> None:
    for label in ("a", "b"):
        for i in range(4):
            films.folder(tmp_path / label / f"c{i}", films.moving(start=i + (label == "b"), width=20 + 2 * i, seed=i))
    splits = load(tmp_path)
    assert splits.classes == ["a", "b"] and splits.train.shape is None
    clip = splits.train.fetch(np.arange(len(splits.train)))
    assert clip["video"].shape[1:3] == (T, 20) and clip["extent"].shape == (len(splits.train), 2)


def test_films_without_classes_have_no_labels_and_of_several_clips_one_group(tmp_path, load) -> None:
    for i in range(6):
        films.film(tmp_path / "x" / f"{i}.mp4", films.moving(20, start=i, seed=i))
    splits = load(tmp_path, clips_per_video=3, frames=4)
    assert splits.columns == ("image", "video") and splits.classes == []
    assert sum(splits.summary["counts"][part] for part in ("train", "val", "test")) == 18
    assert not set(splits.train.groups) & set(splits.val.groups)


def test_films_of_equal_names_in_two_parts_are_two_films(tmp_path, load) -> None:
    """Else every test clip would belong to a group that is trained on, and a warning would say so."""
    for part in ("train", "test"):
        for i, label in enumerate("abab"):
            films.film(tmp_path / part / label / f"{i}.mp4", films.moving(20, start=i, seed=i + 9 * (part == "test")))
    splits = load(tmp_path, clips_per_video=3, frames=4)
    assert splits.summary["test_groups"] == 4
    assert "torn_groups" not in {found["kind"] for found in splits.summary["findings"]}


def test_frames_that_come_again_are_warned_of(tmp_path, load) -> None:
    """Of a film of 10 frames a second, at 30: nothing moves between two of three."""
    root = films.set_of_films(tmp_path, 3)
    warning = next(text for text in load(root, fps=30.0, frames=6).summary["warnings"] if "more than once" in text)
    assert "fewer frames a second than data.fps" in warning and "4 of 6 frames" in warning
    assert not any("more than once" in text for text in load(root, fps=10.0).summary["warnings"])


def test_a_csv_lists_pieces_of_films(tmp_path, load) -> None:
    for i in range(5):
        films.film(tmp_path / f"{i}.mp4", films.moving(20, start=i, seed=i))
    rows = [f"{i}.mp4,{label},{part},g{i},{start},{start + 0.8}" for i, part in enumerate(["train"] * 4 + ["test"])
            for label, start in (("a", 0), ("b", 1))]  # fmt: skip
    (tmp_path / "labels.csv").write_text("path,label,split,group,start,end\n" + "\n".join(rows))
    splits = load(tmp_path)
    test = splits.open_test()
    assert splits.classes == ["a", "b"] and len(test) == 2 and set(test.groups) == {"g4"}
    np.testing.assert_array_equal(test.fetch(np.array([1]))["video"][0], films.moving(20, start=4, seed=4)[10:18])


def test_a_folder_of_films_is_recognised(tmp_path) -> None:
    root = films.set_of_films(tmp_path / "a", 2)
    found = look(root)
    assert found.name == "video" and found.keys == {"root": str(root)}
    assert "4 films in 2 class folders (left 2, right 2), 4 for test" in found.lines[0]


def test_films_are_decoded_once(tmp_path, load, monkeypatch) -> None:
    root = films.set_of_films(tmp_path / "a", 3)
    first = load(root).hash
    monkeypatch.setattr(video, "read", None)
    assert load(root).hash == first


def test_the_same_film_under_two_names_is_found(tmp_path, load) -> None:
    """Its bytes are others in another container; its frames are not."""
    root = films.set_of_films(tmp_path / "a", 3)
    films.film(root / "test" / "left" / "again.mkv", films.moving(start=1, seed=1)[::-1])
    found = load(root).summary["findings"]
    assert [f["images"] for f in found if f["kind"] == "test_in_training"] == [1]


# ── mistakes ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def broken(tmp_path):
    """A set of films with one that is wrong: `broken(make)`, make(path without suffix) writes it."""

    def make(write) -> Path:
        root = films.set_of_films(tmp_path / "a", 3)
        write(root / "train" / "left" / "zz")
        return root

    return make


def no_video(path: Path) -> None:
    import av

    with av.open(str(path.with_suffix(".mp4")), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def empty(path: Path) -> None:
    """A film whose packets are no frames."""
    whole = films.film(path.with_suffix(".mp4"), films.moving())
    data = bytearray(whole.read_bytes())
    at = data.index(b"mdat") + 4
    size = struct.unpack(">I", data[at - 8 : at - 4])[0] - 8
    data[at : at + size] = bytes(size)
    whole.write_bytes(data)


def two_sizes(path: Path) -> None:
    films.folder(path, films.moving())
    Image.new("RGB", (5, 4)).save(path / "3.png")


WRONG = [
    ("cannot be read", lambda path: path.with_suffix(".mp4").write_bytes(b"no film" * 99), "zz.mp4 (Invalid data"),
    ("cannot be read", lambda path: path.with_suffix(".gif").write_bytes(b"no film" * 99), "zz.gif ("),
    ("have no video stream", no_video, "zz.mp4 (no video stream)"),
    ("no frame that can be decoded", empty, "zz.mp4 (no frame in it)"),
    ("too short for a clip", lambda path: films.film(path.with_suffix(".mp4"), films.moving(5)), "zz.mp4 (5 frames, 8"),
    ("pictures of different sizes", two_sizes, "zz (pictures of 5×4, 24×20 pixels"),
]


@pytest.mark.parametrize(("what", "write", "first"), WRONG)
def test_a_film_that_is_wrong_is_one_line_with_its_path_and_count(what, write, first, broken, refused, load) -> None:
    root = broken(write)
    text = refused(root)
    assert text.startswith("data.root: 1 of 7 ")
    assert what in text and first in text and "data.on_error=skip" in text
    splits = load(root, on_error="skip")
    assert len(splits.train) + len(splits.val) == 6
    assert len(splits.summary["skipped"]) == 1 and "zz" in splits.summary["skipped"][0]


def test_short_films_name_the_key_that_helps(tmp_path, refused) -> None:
    root = films.set_of_films(tmp_path / "a", 2)
    assert "8 frames, 15 are needed" in refused(root, stride=2)
    assert "lower data.frames or data.stride" in refused(root, stride=2)
    assert "0.8 s, more than 3.5 s are needed" in (text := refused(root, fps=2.0)) and "raise data.fps" in text


def test_a_film_that_is_cut_off_is_used_as_far_as_it_goes(broken, load) -> None:
    def cut(path: Path) -> None:
        """The index stands first and names frames that the file does not have."""
        import av

        noise = np.random.default_rng(0).integers(0, 256, (30, 20, 24, 3), dtype=np.uint8)
        whole = films.film(path.with_suffix(".mkv"), noise)
        target = path.with_suffix(".mp4")
        with av.open(str(whole)) as source, av.open(str(target), "w", options={"movflags": "faststart"}) as out:
            stream = out.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
        whole.unlink()
        data = target.read_bytes()
        target.write_bytes(data[: int(len(data) * 0.7)])

    splits = load(broken(cut))
    warning = next(text for text in splits.summary["warnings"] if "cut off" in text)
    assert "1 of 7 films" in warning and "of 30 frames" in warning and len(splits.train) + len(splits.val) == 7


def test_a_rate_that_varies_is_warned_of_unless_frames_are_taken_by_time(broken, load) -> None:
    times = [0, 0.1, 0.2, 0.9, 1.0, 1.1, 1.2, 1.3]
    root = broken(lambda path: films.film(path.with_suffix(".mp4"), films.moving(), times))
    assert any("frame rate that varies" in text and "zz.mp4" in text for text in load(root).summary["warnings"])
    found = load(root, fps=12.0).summary["warnings"]
    assert not any("frame rate" in text for text in found)


def test_frame_folders_have_no_times(tmp_path, refused) -> None:
    for label in "ab":
        films.folder(tmp_path / label / "c", films.moving())
    assert "2 of 2 films have no times" in (text := refused(tmp_path, fps=5.0)) and "data.stride" in text


def test_without_pyav_a_line_says_how_to_get_it(tmp_path, refused, monkeypatch) -> None:
    root = films.set_of_films(tmp_path / "a", 2)
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "av":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install 'gssl[video]'" in refused(root)


def test_gifs_need_no_pyav(tmp_path, load, monkeypatch) -> None:
    monkeypatch.setattr(video, "need_av", None)
    for label in "ab":
        for i in range(4):
            films.gif(tmp_path / label / f"{i}.gif", films.moving(start=i + 4 * (label == "b"), seed=i))
    assert load(tmp_path).classes == ["a", "b"]


def test_what_is_no_set_of_films_is_refused(tmp_path, refused) -> None:
    assert "no folder given" in refused(None)
    (tmp_path / "empty").mkdir()
    assert "no films below" in refused(tmp_path / "empty")
    root = films.set_of_films(tmp_path / "a", 2)
    shutil.move(root / "test" / "left", root / "test" / "up")
    assert "classes that the training films do not have: up" in refused(root)
    assert "both say which frames" in refused(root, fps=5.0, stride=2)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("a.mp4,x,1,1", "from 1 to 1 s is no piece"),
        ("a.mp4,x,one,2", "from one to 2 s is no piece"),
        (",x,0,1", "has no path"),
        ("a.mp4,x,0,1\na.mp4,y,0,1", "lists a.mp4 again"),
        ("a.mp4,,0,1", "no labelled training row"),
    ],
)
def test_a_wrong_csv_names_its_line(row, what, tmp_path, refused) -> None:
    (tmp_path / "labels.csv").write_text("path,label,start,end\n" + row)
    assert what in refused(tmp_path)


def test_a_csv_may_name_a_film_that_is_not_there(tmp_path, refused) -> None:
    (tmp_path / "labels.csv").write_text("path,label\na.mp4,x\nb.mp4,y\n")
    assert "2 of 2 films cannot be read" in (text := refused(tmp_path)) and "a.mp4" in text


def test_keys_of_films_are_for_films(tmp_path) -> None:
    with pytest.raises(UsageError, match="data.frames is for data=video"):
        compose("pretrain-ssl", ["data=imagefolder", f"data.root={tmp_path}", "data.frames=3"])
    cfg = compose("pretrain-ssl", ["data=video", f"data.root={tmp_path}", "data.groups='c{group}_*'"])
    assert cfg.data.frames == 8 and cfg.data.groups == "c{group}_*"
