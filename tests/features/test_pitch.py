from pathlib import Path

import numpy as np
import pytest

from rvc_colab.errors import ConfigError
from rvc_colab.features import pitch

GOLDEN = Path(__file__).parents[1] / "golden" / "inference" / "pitch_quant.npz"
HZ_TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN)


def test_coarse_pitch_is_exact(golden):
    np.testing.assert_array_equal(pitch.coarse_pitch(golden["sweep_f0"]), golden["sweep_coarse"])


def test_coarse_pitch_of_float32_is_an_int64_in_range():
    coarse = pitch.coarse_pitch(np.array([0, 1, 49, 1100, 5000], dtype=np.float32))
    assert coarse.dtype == np.int64 and coarse.tolist() == [1, 1, 1, 255, 255]


@pytest.mark.parametrize("key", [0, 5])
def test_interpolating_then_transposing_matches_webui(golden, key):
    f0 = pitch.transpose(pitch.interpolate_unvoiced(golden["uv_in"]), key)
    np.testing.assert_allclose(f0, golden[f"webui_key{key}_f0"], atol=HZ_TOLERANCE)
    np.testing.assert_array_equal(pitch.coarse_pitch(f0), golden[f"webui_key{key}_coarse"])


def test_transposing_alone_matches_applio(golden):
    f0 = pitch.transpose(golden["uv_in"], 5)
    np.testing.assert_allclose(f0, golden["applio_key5_f0"], atol=HZ_TOLERANCE)
    np.testing.assert_array_equal(pitch.coarse_pitch(f0), golden["applio_key5_coarse"])


def test_a_fully_unvoiced_curve_stays_unvoiced(golden):
    f0 = pitch.interpolate_unvoiced(np.zeros(16))
    np.testing.assert_array_equal(f0, golden["allzero_f0"])
    np.testing.assert_array_equal(pitch.coarse_pitch(f0), golden["allzero_coarse"])


def test_frames_between_voiced_points_follow_the_octaves():
    f0 = pitch.fill_frames(np.array([0.0, 0.02]), np.array([200.0, 220.0]), np.array([0.01]))
    assert f0[0] == pytest.approx(np.sqrt(200 * 220))


def test_frames_beside_an_unvoiced_point_take_the_nearer_one():
    at = np.array([0.004, 0.006])
    f0 = pitch.fill_frames(np.array([0.0, 0.01]), np.array([200.0, 0.0]), at)
    assert f0.tolist() == [200.0, 0.0]


def test_an_octave_jump_is_not_bridged():
    at = np.array([0.004, 0.006])
    f0 = pitch.fill_frames(np.array([0.0, 0.01]), np.array([200.0, 400.0]), at)
    assert f0.tolist() == [200.0, 400.0]


def written(tmp_path, text):
    (tmp_path / "f0.csv").write_text(text)
    return tmp_path / "f0.csv"


@pytest.mark.parametrize(
    "text", ["0,100\n0.5,200\n", "time;hz\n0;100\n0.5;200", "0\t100\n\n0.5\t200"]
)
def test_an_f0_file_is_read(tmp_path, text):
    track = pitch.read_f0_file(written(tmp_path, text))
    assert track.times.tolist() == [0, 0.5] and track.f0_hz.tolist() == [100, 200]


def test_an_f0_file_replaces_only_its_own_time(tmp_path):
    track = pitch.read_f0_file(written(tmp_path, "0.02,300\n0.04,300\n"))
    f0 = track.overlay(np.full(7, 100.0, dtype=np.float32))
    assert f0.tolist() == [100, 100, 300, 300, 300, 100, 100]


def test_an_f0_file_is_laid_over_a_later_stretch(tmp_path):
    track = pitch.read_f0_file(written(tmp_path, "0,300\n1.02,300\n"))
    assert track.overlay(np.zeros(5), start_seconds=1.0).tolist() == [300, 300, 300, 0, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0,100\nabc\n", "Line 2 .*not two numbers"),
        ("0,100\n0.1,nan\n", "Line 2 .*pitch is not"),
        ("0,100\n0.1,-5\n", "Line 2 .*pitch is not"),
        ("0.1,100\n0.1,100\n", "Line 2 .*does not rise"),
        ("-1,100\n", "Line 1 .*time is not"),
        ("0,1,2\n", "Line 1 .*not two numbers"),
        ("\n\n", "holds no lines"),
    ],
)
def test_a_wrong_f0_file_is_refused_by_line(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        pitch.read_f0_file(written(tmp_path, text))


def test_a_binary_f0_file_is_refused(tmp_path):
    (tmp_path / "f0.csv").write_bytes(b"\x80\x02\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        pitch.read_f0_file(tmp_path / "f0.csv")
