import json
from pathlib import Path

import numpy as np
import pytest

from rvc_colab.audio import filters, slicing

GOLDEN = Path(__file__).parents[1] / "golden" / "training"
LEVEL_TOLERANCE = 1e-9
PIECE_TOLERANCE = 2e-7
PIECE_16K_TOLERANCE = 2e-6
HIGHPASS_TOLERANCE = 1e-7
RATE = 40000
CASES = ["per3.7", "per3.0", "loud"]


@pytest.fixture(scope="module")
def facts():
    return json.loads((GOLDEN / "b_slicing.json").read_text())


@pytest.fixture(scope="module")
def arrays():
    return dict(np.load(GOLDEN / "b_slicing.npz"))


@pytest.fixture(scope="module")
def tracks(facts, arrays):
    """The high-passed track of each case."""
    plain = arrays["audio_i16"].astype(np.float32) / 32768
    loud = plain.copy()
    gain = facts["loud_case_gain"]
    loud[gain["start"] : gain["end"]] *= gain["gain"]
    filtered = filters.highpass_causal(plain, RATE)
    return {"per3.7": filtered, "per3.0": filtered, "loud": filters.highpass_causal(loud, RATE)}


@pytest.fixture(scope="module")
def pieces(facts, tracks):
    return {
        case: slicing.cut_pieces(slicing.find_slices(tracks[case], RATE), RATE, facts[case]["per"])
        for case in CASES
    }


def test_the_causal_highpass_matches_the_golden(tracks, arrays):
    y = tracks["per3.7"]
    np.testing.assert_allclose(y[:256], arrays["hp_out_first256"], atol=HIGHPASS_TOLERANCE)


def test_levels_match_the_golden(tracks, arrays):
    levels = slicing.frame_levels(tracks["per3.7"], 600)
    np.testing.assert_allclose(levels, arrays["slicer_rms"], atol=LEVEL_TOLERANCE)


@pytest.mark.parametrize("rate", [32000, 40000, 48000])
def test_frame_sizes_match_the_golden(facts, rate):
    expected, size = facts["per_rate"][str(rate)], slicing.SlicerConfig().frames(rate)
    found = {
        "hop": size.hop,
        "min_length": size.min_length,
        "min_interval": size.min_interval,
        "max_sil_kept": size.kept,
    }
    assert found == {key: expected[key] for key in found}


@pytest.mark.parametrize("case", CASES)
def test_slices_match_the_golden(facts, tracks, case):
    expected = [tuple(row[2:]) for row in facts[case]["slices_frames_and_samples"]]
    assert slicing.find_slices(tracks[case], RATE) == expected


@pytest.mark.parametrize("case", CASES)
def test_pieces_are_those_the_reference_writes_or_overwrites(facts, pieces, case):
    expected = [tuple(row[1:3]) for row in facts[case]["writes_in_order"]]
    assert [(p.start, p.end) for p in pieces[case]] == expected


@pytest.mark.parametrize("case", CASES)
def test_pieces_cover_all_that_the_slicer_keeps(tracks, pieces, case):
    kept, covered = np.zeros((2, len(tracks[case])), dtype=bool)
    for start, end in slicing.find_slices(tracks[case], RATE):
        kept[start:end] = True
    for piece in pieces[case]:
        covered[piece.start : piece.end] = True
    np.testing.assert_array_equal(covered, kept)


def test_the_reference_loses_what_we_keep(facts, pieces):
    lost = {(row[1], row[2]) for row in facts["per3.7"]["overwritten"]}
    assert lost and lost <= {(p.start, p.end) for p in pieces["per3.7"]}


def survivors(facts, case):
    """(name, start, end) of each file the reference leaves on disk: the last write of a name."""
    last = {row[0]: row for row in facts[case]["writes_in_order"] if row[4]}
    return [(row[0], row[1], row[2]) for row in last.values()]


@pytest.mark.parametrize("case", CASES)
def test_normalized_pieces_match_the_golden(facts, arrays, tracks, case):
    for name, start, end in survivors(facts, case):
        y = slicing.normalize_piece(tracks[case][start:end])
        head = arrays[f"{case}_gt_{name}_head32"]
        middle = arrays[f"{case}_gt_{name}_mid64"]
        half = len(y) // 2
        np.testing.assert_allclose(y[:32], head, atol=PIECE_TOLERANCE)
        np.testing.assert_allclose(y[half - 32 : half + 32], middle, atol=PIECE_TOLERANCE)


def test_pieces_at_16_khz_match_the_golden(facts, arrays, tracks):
    for name, start, end in survivors(facts, "per3.7")[:3]:
        y = filters.resample(slicing.normalize_piece(tracks["per3.7"][start:end]), RATE, 16000)
        middle = arrays[f"per3.7_16k_{name}_mid64"]
        half = len(y) // 2
        np.testing.assert_allclose(y[half - 32 : half + 32], middle, atol=PIECE_16K_TOLERANCE)


def test_the_piece_too_loud_is_named(facts, tracks):
    name, start, end, peak, _ = facts["loud"]["not_written"][0]
    assert slicing.why_unusable(tracks["loud"][start:end]) == f"its peak is {peak:.2f}, above 2.5"


@pytest.mark.parametrize(
    ("samples", "words"),
    [([], "no samples"), ([0.0, 0.0], "silent"), ([np.nan], "not numbers"), ([0.1], "")],
)
def test_unusable_pieces_are_named(samples, words):
    found = slicing.why_unusable(np.array(samples))
    assert words in found and bool(words) == bool(found)


@pytest.mark.parametrize("seconds", [0.0, 1 / RATE, 0.5, 30.0])
def test_silence_gives_no_piece_with_sound_lost(seconds):
    x = np.zeros(round(seconds * RATE))
    for start, end in slicing.find_slices(x, RATE):
        assert 0 <= start < end <= len(x)


def test_a_cut_goes_to_the_quiet_point():
    x = np.random.default_rng(0).standard_normal(16000)
    x[9000:9600] = 0.01
    assert 9200 <= slicing.quiet_point(x, 16000, 4000, 12000) <= 9400


def test_in_digital_silence_the_cut_goes_to_the_middle():
    x = np.zeros(16000)
    x[:2000] = 1.0
    assert slicing.quiet_point(x, 16000, 4000, 12000) == 8000


def test_a_cut_stays_in_its_range():
    x = np.ones(16000)
    x[:100] = 0
    assert 4000 <= slicing.quiet_point(x, 16000, 4000, 12000) <= 12000


@pytest.mark.parametrize("samples", [0, 1, 10])
def test_a_cut_of_next_to_nothing_stays_inside(samples):
    assert 0 <= slicing.quiet_point(np.zeros(samples), 16000, 0, 100) <= samples
