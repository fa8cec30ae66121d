from __future__ import annotations

import numpy as np

from rvc_colab.conversion.noise import NoiseTape


def test_a_frame_has_the_same_noise_however_it_is_read() -> None:
    tape = NoiseTape(7)
    whole = tape.prior(-100, 700, 16)
    np.testing.assert_array_equal(whole[:, 230:431], tape.prior(130, 201, 16))
    whole = tape.source(-100, 700, 400)
    np.testing.assert_array_equal(whole[230 * 400 : 431 * 400], tape.source(130, 201, 400))


def test_the_seed_repeats_it_and_another_does_not() -> None:
    assert (NoiseTape(7).source(0, 9, 160) == NoiseTape(7).source(0, 9, 160)).all()
    assert not (NoiseTape(7).source(0, 9, 160) == NoiseTape(8).source(0, 9, 160)).any()


def test_without_a_seed_one_is_drawn_that_repeats_it() -> None:
    tape = NoiseTape()
    assert (tape.prior(5, 9, 4) == NoiseTape(tape.seed).prior(5, 9, 4)).all()
    assert tape.seed != NoiseTape().seed


def test_draws_are_unit_normal_and_unlike_each_other() -> None:
    tape = NoiseTape(0)
    prior, source = tape.prior(0, 640, 160), tape.source(0, 640, 160)
    for draw in (prior, source):
        assert abs(draw.mean()) < 0.01 and abs(draw.std() - 1) < 0.01
    assert abs(np.corrcoef(prior.T.ravel(), source)[0, 1]) < 0.02
    assert abs(np.corrcoef(source[: 64 * 160], source[64 * 160 : 128 * 160])[0, 1]) < 0.05
