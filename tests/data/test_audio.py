"""Sounds as data: every layout, bad files in a line, rates, channels, whole groups."""

import struct

import numpy as np
import pytest

from gssl.data import audio
from gssl.data.audio import Shape, WrongAudio
from gssl.data.splits import load_data

soundfile = pytest.importorskip("soundfile")
RATE = 8000


def tone(number, seconds=0.4, rate=RATE):
    t = np.arange(round(seconds * rate)) / rate
    return 0.3 * np.sin(2 * np.pi * (200 + 37 * number) * t)


def save(path, sound, rate=RATE, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, **how)
    return path


@pytest.fixture
def load(cfg):
    def make(root, **changes):
        return load_data(cfg(**{"name": "audio", "root": root, "size": 8, "seconds": 0.5, "hop_ms": 20} | changes))

    return make


@pytest.fixture
def clips(tmp_path):
    """Two classes of 10 sounds each, by five speakers."""
    for label in "ab":
        for i in range(10):
            save(tmp_path / "clips" / label / f"s{i % 5}_{i}.wav", tone(10 * "ab".index(label) + i))
    return tmp_path / "clips"


def warned(splits):
    return "\n".join(splits.summary["warnings"])


def test_class_folders_become_rows_of_samples(clips, load):
    splits = load(clips)
    assert splits.columns == ("label", "audio") and splits.classes == ["a", "b"]
    batch = splits.train.fetch(np.arange(2))
    assert batch["audio"].shape == (2, RATE // 2) and str(batch["audio"].dtype) == "torch.int16"
    name = splits.train.name(0)
    own, rate = soundfile.read(name, dtype="int16")
    assert rate == RATE and (batch["audio"][0, 400:3600].numpy() == own).all()  # in the middle of silence
    assert not batch["audio"][0, :400].any() and not batch["audio"][0, 3600:].any()
    assert "20 sounds at 8,000 Hz; 100% are shorter" in splits.summary["found"]
    assert load(clips).hash == splits.hash


def test_groups_are_never_torn(clips, load):
    splits = load(clips, groups="{group}_*", test_fraction=0.3)
    own = [set(part.groups) for part in (splits.train, splits.val, splits._test)]
    assert all(own) and sum(map(len, own)) == 5 == len(set.union(*own))
    folds = load(clips, groups="{group}_*", test="folds", folds=5, fold=1)
    assert len(set(folds._test.groups)) == 1 and not set(folds._test.groups) & set(folds.labelled.groups)


def test_a_split_that_tears_groups_is_not_used(clips, load):
    rows = [f"{p.relative_to(clips)},{p.parent.name},{{}},{p.name[:2]}" for p in sorted(clips.rglob("*.wav"))]
    torn = [row.format("test" if i % 2 else "train") for i, row in enumerate(rows)]
    (clips / "labels.csv").write_text("\n".join(["path,label,split,group", *torn]))
    splits = load(clips)
    assert "the column split tears 5 of 5 groups (s0, s1, s2 and 2 more): it is not used" in warned(splits)
    assert not set(splits._test.groups) & set(splits.labelled.groups)
    whole = [row.format("test" if row.endswith("s0") else "train") for row in rows]
    (clips / "labels.csv").write_text("\n".join(["path,label,split,group", *whole]))
    assert set(load(clips)._test.groups) == {"s0"}
    (clips / "labels.csv").write_text("\n".join(row.rsplit(",", 1)[0] for row in ["path,label,split,group", *torn]))
    splits = load(clips)  # without groups as the list says
    assert len(splits._test) == 10 and splits._test.groups is None


def test_parts_unlabelled_rows_and_formats(tmp_path, load):
    for i in range(12):
        save(tmp_path / "x" / "train" / "ab"[i % 2] / f"{i}.flac", tone(i))
        save(tmp_path / "x" / "Testing" / "ab"[i % 2] / f"{i}.ogg", tone(20 + i))
        save(tmp_path / "x" / "unlabelled" / f"{i}.mp3", tone(40 + i))
    splits = load(tmp_path)  # the only folder in it
    assert len(splits._test) == 12 and len(splits.train) + len(splits.val) == 12 and len(splits.pretrain) == 12
    assert splits.pretrain.columns == ("audio",) and "Testing/ is the test part" in splits.summary["found"]


def test_other_rates_are_resampled_only_where_asked(clips, load, refused):
    save(clips / "a" / "other.wav", tone(3, rate=16000), 16000)
    text = refused(clips)
    assert text == ("data.rate: the sounds have different rates (20 at 8,000 Hz, 1 at 16,000 Hz); set data.rate=8000")
    splits = load(clips, rate=16000)
    assert "20 of 21 sounds are raised to data.rate" in warned(splits)
    assert "raised" not in warned(load(clips, rate=8000))


def test_resampling_keeps_a_tone():
    made = audio.resampled(tone(5, 0.5, 16000), 16000, RATE)
    assert len(made) == 4000 and np.abs(made - tone(5, 0.5))[100:-100].max() < 2e-3
    high = np.sin(2 * np.pi * 6000 * np.arange(8000) / 16000)  # above half of the new rate
    assert np.abs(audio.resampled(high, 16000, RATE))[100:-100].max() < 0.01


def test_what_a_row_is_told_of():
    shape, loud = Shape(RATE, 4000), tone(1, 1.0)[:, None]

    def kinds(x):
        return [kind for kind, _ in audio.row_of(x.astype(np.float32), RATE, shape).notes]

    assert kinds(loud) == ["cut"] and kinds(loud[:4000]) == []
    assert kinds(np.repeat(loud[:4000], 2, axis=1)) == ["channels"]
    assert kinds(np.concatenate([loud, -loud], axis=1)[:4000]) == ["channels", "opposite"]
    assert kinds(1e-4 * loud[:4000]) == ["silent"]
    assert kinds((10 * loud[:4000]).clip(-1, 1)) == ["clipped"]
    row = audio.row_of(loud.astype(np.float32), RATE, shape)
    assert row.length == 8000 and np.abs(row.samples / 32768 - loud[2000:6000, 0]).max() < 2e-5  # the middle
    odd = audio.row_of(loud[:3999].astype(np.float32), RATE, Shape(RATE, 4002)).samples
    assert len(odd) == 4002 and not odd[0] and not odd[-2:].any() and odd[2]


def cut_wav(path):
    raw = save(path, tone(1)).read_bytes()
    path.write_bytes(raw[: len(raw) // 2])


def no_frames(path):
    save(path, np.zeros(0))


def header_only(path):
    path.write_bytes(save(path, tone(1)).read_bytes()[:44])


def cut_header(path):
    path.write_bytes(save(path, tone(1)).read_bytes()[:30])


def not_audio(path):
    path.write_text("hello")


def not_finite(path):
    save(path, np.where(np.arange(4000) == 7, np.nan, tone(1, 0.5)), subtype="FLOAT")


def size_zero(path):
    raw = bytearray(save(path, tone(1)).read_bytes())
    raw[40:44] = struct.pack("<I", 0)
    path.write_bytes(raw)


BAD = {
    cut_wav: "1 of 21 sounds are cut off: they are shorter than their header says: {} (3,178 of 6,400 bytes of sound)",
    no_frames: "1 of 21 sounds have no frames: {} (0 frames)",
    header_only: "1 of 21 sounds have no frames: {} (0 frames)",
    size_zero: "1 of 21 sounds have no frames: {} (0 frames)",
    cut_header: "1 of 21 sounds cannot be read: {} (",
    not_audio: "1 of 21 sounds cannot be read: {} (Format not recognised)",
    not_finite: "1 of 21 sounds have values that are no numbers: {} (1 frames with NaN or infinity)",
}


@pytest.mark.parametrize("spoil", BAD, ids=lambda make: make.__name__)
def test_bad_files_are_a_line(spoil, clips, load, refused):
    spoil(clips / "a" / "bad.wav")
    text = refused(clips)
    assert text.startswith("data.root: " + BAD[spoil].format(clips / "a" / "bad.wav")), text
    assert text.endswith("or leave them out with data.on_error=skip")
    splits = load(clips, on_error="skip")
    assert (
        len(splits.summary["skipped"]) == 1 and sum(splits.summary["counts"][k] for k in ("train", "val", "test")) == 20
    )


def test_streamed_and_damaged_files(clips, load, refused):
    raw = bytearray(save(clips / "a" / "s1_streamed.wav", tone(50)).read_bytes())
    raw[40:44] = struct.pack("<I", audio.STREAMED)  # as programs write it that do not know the end
    (clips / "a" / "s1_streamed.wav").write_bytes(raw)
    assert load(clips).summary["counts"]["train"] > 0
    flac = save(clips / "b" / "bad.flac", tone(1))
    flac.write_bytes(flac.read_bytes()[:-300])
    assert "cannot be read" in refused(clips) or "cut off" in refused(clips)


def test_what_lies_there_instead(tmp_path, load, refused, clips):
    assert "data.root: no folder given" in refused(None)
    (tmp_path / "empty").mkdir()
    assert f"data.root: no sounds below {tmp_path / 'empty'}; expected one folder per class" in refused(
        tmp_path / "empty"
    )
    save(clips / "labels" / "c.wav", tone(70))
    (clips / "labels.csv").write_text("path,label,split\na/s0_0.wav,a,train\nb/s0_0.wav,b,test\n")
    assert "test sounds have classes that training sounds do not have: b" in refused(clips)


def test_warnings_name_the_first_file(clips, load):
    save(clips / "a" / "wide.wav", np.stack([tone(60), -tone(60)], axis=1))
    save(clips / "b" / "quiet.wav", np.zeros(4000))
    text = warned(load(clips))
    assert f"1 of 22 sounds have several channels: their mean is used; the first is {clips / 'a' / 'wide.wav'}" in text
    assert "cancel each other out" in text and "1 of 22 sounds are silent" in text


def test_equal_sounds_are_found_in_two_parts(clips, load):
    for name in ("train", "test"):
        for label in "ab":
            for i in range(4):
                save(clips.parent / "two" / name / label / f"{i}.wav", tone(ord(label) + i))
    found = {finding["kind"]: finding["text"] for finding in load(clips.parent / "two").summary["findings"]}
    assert "sample for sample" in found["test_in_training"]


def test_without_soundfile_a_line_says_so(clips, load, refused, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    assert refused(clips) == "data=audio: sound files need soundfile; install it: pip install 'gssl[audio]'"


def test_a_flac_of_the_same_samples_is_the_same_row(tmp_path):
    shape, pcm = Shape(RATE, 4000), (tone(4) * 32768).round().astype(np.int16)
    rows = [audio.read(str(save(tmp_path / f"x.{kind}", pcm)), shape).samples for kind in ("wav", "flac")]
    assert (rows[0] == rows[1]).all()
    with pytest.raises(WrongAudio, match="No such file"):
        audio.read(str(tmp_path / "gone.wav"), shape)
