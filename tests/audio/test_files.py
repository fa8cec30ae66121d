import os
import pickle
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rvc_colab.audio.files import AudioReader, AudioWriter, _unwritable, probe, read
from rvc_colab.errors import AudioError

RATE = 16000
LOSSY_TOLERANCE = 0.05


def tone(seconds=0.5, rate=RATE):
    t = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * 220 * t)).astype(np.float32)


def save(path, x, rate=RATE, **options):
    with AudioWriter(path, rate, **options) as writer:
        writer.write(x)
    return path


def only_file(folder):
    return [p.name for p in folder.iterdir()]


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_sixteen_bits_come_back_exactly(tmp_path, name):
    x = np.array([0, 1, -1, 32767, -32768], dtype=np.float32) / 32768
    np.testing.assert_array_equal(read(save(tmp_path / name, x))[0], x)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_twenty_four_bits_come_back_exactly(tmp_path, name):
    x = np.array([0, 1, -1, 2**23 - 1, -(2**23)], dtype=np.float32) / 2**23
    np.testing.assert_array_equal(read(save(tmp_path / name, x, subtype="pcm24"))[0], x)


def test_float_wav_keeps_what_exceeds_one(tmp_path):
    x = np.array([1.5, -2.0], dtype=np.float32)
    np.testing.assert_array_equal(read(save(tmp_path / "a.wav", x, subtype="float"))[0], x)


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg"])
def test_lossy_formats_come_back_close(tmp_path, name):
    y, rate = read(save(tmp_path / name, tone()))
    assert rate == RATE and len(y) == len(tone())
    assert np.sqrt(np.mean((y - tone()) ** 2)) < LOSSY_TOLERANCE


def test_mp3_of_40_khz_takes_the_next_rate_it_knows(tmp_path):
    path = save(tmp_path / "a.mp3", tone(1.0, 40000), 40000)
    assert probe(path).sample_rate == 44100
    assert probe(path).samples == 44100


def test_clipped_samples_stay_at_full_scale(tmp_path):
    y, _ = read(save(tmp_path / "a.wav", np.array([3.0, -3.0])))
    assert y.tolist() == [32767 / 32768, -1.0]


def test_probe_tells_what_is_inside(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((4410, 2)), 44100)
    info = probe(tmp_path / "a.wav")
    assert (info.sample_rate, info.channels, info.samples) == (44100, 2, 4410)
    assert (info.seconds, info.format) == (0.1, "wav")


def test_six_channels_become_their_mean(tmp_path):
    x = np.tile(np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], dtype=np.float32), (100, 1))
    soundfile.write(tmp_path / "a.wav", x, RATE, subtype="FLOAT")
    np.testing.assert_allclose(read(tmp_path / "a.wav")[0], 0.25, rtol=1e-6)


def test_channels_are_kept_when_asked(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((10, 6)), RATE)
    assert read(tmp_path / "a.wav", mono=False)[0].shape == (10, 6)


@pytest.mark.parametrize("rate", [8000, 192000])
def test_unusual_rates_are_read_at_the_asked_one(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(0.1, rate), rate)
    y, got = read(tmp_path / "a.wav", RATE)
    assert got == RATE and len(y) == 1600


def test_blocks_give_every_sample_once(tmp_path):
    path = save(tmp_path / "a.wav", tone(), subtype="float")
    with AudioReader(path) as reader:
        blocks = list(reader.blocks(0.07))
    assert {len(b) for b in blocks[:-1]} == {1120}
    np.testing.assert_array_equal(np.concatenate(blocks), tone())


@pytest.mark.parametrize("samples", [1, 31, 800])
def test_very_short_files_are_read(tmp_path, samples):
    assert len(read(save(tmp_path / "a.wav", np.zeros(samples)))[0]) == samples


def test_a_file_only_ffmpeg_or_av_knows_is_decoded(tmp_path):
    import shutil
    import subprocess

    if not shutil.which("ffmpeg"):
        pytest.skip("no ffmpeg here")
    save(tmp_path / "a.wav", tone())
    made = tmp_path / "a.m4a"
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.wav"), "-c:a", "aac", str(made)]
    subprocess.run(command, check=True)
    with AudioReader(made) as reader:
        y = np.concatenate(list(reader.blocks()))
    assert reader.decoder in ("ffmpeg", "PyAV") and reader.format == "m4a"
    assert abs(len(y) - len(tone())) < 3000
    assert np.sqrt(np.mean(y**2)) == pytest.approx(0.35, abs=0.03)


def wav_bytes(tmp_path):
    return save(tmp_path / "whole.wav", tone()).read_bytes()


def html(path):
    path.write_bytes(b"<!DOCTYPE html><html><body>Quota exceeded</body></html>")


def archive(path):
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("data.pkl", "x")


def pickled(path):
    path.write_bytes(pickle.dumps({"weight": 1}))


IMPOSTORS = {
    "HTML page": html,
    "zip archive": archive,
    "Python pickle": pickled,
    "text file": lambda path: path.write_text("hello " * 100),
    "zero bytes": lambda path: path.write_bytes(bytes(5000)),
}


@pytest.mark.parametrize("words", IMPOSTORS)
def test_what_is_not_sound_is_named(tmp_path, words):
    IMPOSTORS[words](tmp_path / "a.wav")
    with pytest.raises(AudioError, match=words):
        AudioReader(tmp_path / "a.wav")


def test_noise_bytes_are_refused(tmp_path):
    (tmp_path / "a.bin").write_bytes(np.random.default_rng(0).bytes(9000))
    with pytest.raises(AudioError, match="cannot be decoded|no further decoder"):
        AudioReader(tmp_path / "a.bin")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AudioError, match="does not exist"):
        AudioReader(tmp_path / "none.wav")


def test_a_name_too_long_for_the_disk_is_refused(tmp_path):
    with pytest.raises(AudioError, match="cannot be read|does not exist"):
        AudioReader(tmp_path / ("x" * 300 + ".wav"))


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(AudioError, match="is a folder"):
        AudioReader(tmp_path)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.wav").touch()
    with pytest.raises(AudioError, match="is empty"):
        AudioReader(tmp_path / "a.wav")


def test_a_file_without_samples_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), RATE)
    with pytest.raises(AudioError, match="no samples"):
        AudioReader(tmp_path / "a.wav")


@pytest.mark.parametrize("kept", [12, 30, 40])
def test_a_cut_header_is_called_cut_off(tmp_path, kept):
    data = wav_bytes(tmp_path)
    (tmp_path / "a.wav").write_bytes(data[:kept])
    with pytest.raises(AudioError, match="cut off"):
        AudioReader(tmp_path / "a.wav")


def test_a_wav_cut_in_its_sound_is_called_cut_off(tmp_path):
    data = wav_bytes(tmp_path)
    (tmp_path / "a.wav").write_bytes(data[:9000])
    with pytest.raises(AudioError, match="of its sound are there"):
        AudioReader(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a.flac", "a.mp3"])
def test_a_cut_compressed_file_is_called_cut_off(tmp_path, name):
    noise = 0.2 * np.random.default_rng(0).standard_normal(3 * RATE)
    data = save(tmp_path / name, noise).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match="cut off"):
        read(tmp_path / name)


def test_a_streamed_wav_of_unknown_length_is_read(tmp_path):
    data = bytearray(wav_bytes(tmp_path))
    struct.pack_into("<I", data, 4, 0xFFFFFFFF)
    struct.pack_into("<I", data, data.index(b"data") + 4, 0xFFFFFFFF)
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read(tmp_path / "a.wav")[0]) == len(tone())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_placed(tmp_path, bad):
    x = tone()
    x[1600] = bad
    soundfile.write(tmp_path / "a.wav", x, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"at 0\.100 s"):
        read(tmp_path / "a.wav")


def test_an_unknown_target_lists_the_known_ones(tmp_path):
    with pytest.raises(AudioError, match="'.xyz'") as refused:
        AudioWriter(tmp_path / "a.xyz", RATE)
    assert ".wav, .flac, .mp3, .ogg" in refused.value.hint


def test_a_subtype_the_format_lacks_is_refused(tmp_path):
    with pytest.raises(AudioError, match="flac cannot hold 'float'"):
        AudioWriter(tmp_path / "a.flac", RATE, subtype="float")


def test_an_error_while_writing_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), AudioWriter(tmp_path / "a.wav", RATE) as writer:
        writer.write(tone())
        raise ZeroDivisionError
    assert only_file(tmp_path) == []


def test_nan_is_not_written_and_the_old_file_stays(tmp_path):
    old = save(tmp_path / "a.wav", tone()).read_bytes()
    with (
        pytest.raises(AudioError, match="not numbers"),
        AudioWriter(old_path := tmp_path / "a.wav", RATE) as w,
    ):
        w.write(np.array([np.nan]))
    assert old_path.read_bytes() == old and only_file(tmp_path) == ["a.wav"]


def test_the_name_appears_only_on_close(tmp_path):
    writer = AudioWriter(tmp_path / "a.wav", RATE)
    writer.write(tone())
    assert not (tmp_path / "a.wav").exists()
    writer.close()
    assert only_file(tmp_path) == ["a.wav"]


def test_a_folder_that_cannot_be_made_is_an_audio_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(AudioError, match="cannot be written"):
        AudioWriter(tmp_path / "file" / "a.wav", RATE)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_a_video_without_sound_says_so(tmp_path):
    path = tmp_path / "mute.mkv"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=s=16x16:d=0.1", str(path)]
    subprocess.run(command, check=True)
    with pytest.raises(AudioError, match="holds no sound track"):
        read(path)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no file")
def test_the_systems_own_reason_is_told(tmp_path):
    with pytest.raises(AudioError, match="No such file or directory"):
        AudioWriter("/proc/sound.wav", RATE)


def test_a_full_disk_is_called_one():
    with pytest.raises(AudioError, match="the disk refused it"):
        raise _unwritable(Path("a.wav"), soundfile.SoundFileError("System error."))


@pytest.mark.skipif(os.name != "posix", reason="names are text elsewhere")
def test_a_name_that_is_no_text_is_read_and_written(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff.wav"))
    assert len(read(save(path, tone()))[0]) == len(tone())
