"""Retrieval: exact neighbours on every path, a blend without NaN, files that others read."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rvc_colab.errors import ConfigError, IndexFileError
from rvc_colab.features import retrieval
from rvc_colab.features.retrieval import RetrievalIndex, blend, build_index, read_index, write_index

pytest.importorskip("faiss")
GOLDEN = Path(__file__).parents[1] / "golden"
TINY = GOLDEN / "inference" / "tiny_added_IVF6_Flat_nprobe_1_tiny_v2.index"
TOLERANCE = 1e-5  # of the golden's README
SCORE_TOLERANCE = 1e-5  # relative: float32 sums of 768 squares


@pytest.fixture(scope="module")
def golden():
    return {
        key: torch.from_numpy(value)
        for key, value in np.load(GOLDEN / "inference/retrieval.npz").items()
    }


@pytest.fixture(scope="module")
def tiny():
    return read_index(TINY)


def cloud(rows, width=32, seed=0):
    return torch.from_numpy(
        np.random.default_rng(seed).standard_normal((rows, width), dtype=np.float32)
    )


def brute_force(queries, vectors, k):
    distances = (queries.double()[:, None] - vectors.double()).square().sum(-1)
    return distances.topk(k, largest=False)


def test_golden_file_holds_the_published_vectors(golden, tiny):
    assert torch.equal(tiny.vectors, golden["big_npy"].float())


def test_golden_exact_search(golden, tiny):
    scores, rows = tiny.search(golden["query"])
    assert torch.equal(rows, golden["exact_ix"])
    torch.testing.assert_close(scores, golden["exact_score"], rtol=SCORE_TOLERANCE, atol=1e-4)


def test_golden_search_through_one_list(golden, tiny):
    scores, rows = tiny.search_faiss(golden["query"], nprobe=1)
    found = golden["ivf_ix"] >= 0
    assert torch.equal(rows[found], golden["ivf_ix"][found])
    torch.testing.assert_close(
        scores[found], golden["ivf_score"][found], rtol=SCORE_TOLERANCE, atol=1e-4
    )


def test_golden_blend_of_the_exact_search(golden, tiny):
    mixed = tiny.retrieve(golden["query"], 0.75)
    torch.testing.assert_close(mixed, golden["blended_exact_rate0p75"], rtol=0, atol=TOLERANCE)


def test_golden_blend_of_one_list(golden, tiny):
    scores, rows = tiny.search_faiss(golden["query"], nprobe=1)
    mixed = blend(golden["query"], tiny.vectors[rows], scores, 0.75)
    torch.testing.assert_close(mixed, golden["blended_ivf_rate0p75"], rtol=0, atol=TOLERANCE)


def test_golden_training_vectors_are_shuffled_and_found_as_published():
    known = np.load(GOLDEN / "training/d_index.npz")
    draw = np.random.RandomState(5)
    centres = draw.standard_normal((40, 256)) * 2
    rows = (centres[draw.randint(0, 40, 3000)] + draw.standard_normal((3000, 256))).astype(
        np.float32
    )
    index = build_index(rows, seed=1234)
    assert torch.equal(index.vectors, torch.from_numpy(rows[known["perm"]]))
    scores, ids = index.search(torch.from_numpy(known["queries"]))
    assert np.array_equal(ids, known["exact_k8_ids"])
    np.testing.assert_allclose(scores, known["exact_k8_dist"], rtol=SCORE_TOLERANCE, atol=1e-3)
    assert index.faiss_index.nlist == 76


def test_small_golden_file_answers_as_recorded():
    known = np.load(GOLDEN / "training/d_index.npz")
    index = read_index(GOLDEN / "training/d_small_added_IVF7_Flat_nprobe_1_small_v1.index", 256)
    scores, ids = index.search_faiss(index.vectors[:5], k=4, nprobe=1)
    assert ids.shape == known["small_search_first5_ids"].shape
    assert np.array_equal(ids[:, 0], np.arange(5))


@pytest.mark.parametrize("products", [torch.float32, torch.float16, torch.bfloat16])
def test_every_precision_finds_the_exact_neighbours(products):
    # Clustered and far from the origin: where |q|² - 2q·v + |v|² cancels.
    vectors = 30 + cloud(40, 64, seed=1).repeat_interleave(25, 0) * 2 + cloud(1000, 64, seed=2)
    queries = vectors[::50] + 0.5 * cloud(20, 64, seed=3)
    index = RetrievalIndex(vectors).to("cpu", products)
    expected = brute_force(queries, vectors, 8)
    scores, rows = index.search(queries)
    assert torch.equal(rows, expected.indices)
    torch.testing.assert_close(scores, expected.values.float(), rtol=1e-5, atol=1e-4)


def test_blocks_change_nothing(monkeypatch):
    index, queries = RetrievalIndex(cloud(200)), cloud(50, seed=4)
    whole = index.search(queries)
    monkeypatch.setattr(retrieval, "_BLOCK_BYTES", 4 * 200 * 3)
    for part, other in zip(index.search(queries), whole, strict=True):
        torch.testing.assert_close(part, other)


def test_exact_search_equals_faiss_over_all_lists():
    index, queries = build_index(cloud(500).numpy()), cloud(40, seed=5)
    scores, rows = index.search(queries)
    other_scores, other_rows = index.search_faiss(queries, nprobe=index.faiss_index.nlist)
    assert torch.equal(rows, other_rows)
    torch.testing.assert_close(scores, other_scores, rtol=1e-5, atol=1e-4)


def test_batches_keep_their_shape():
    scores, rows = RetrievalIndex(cloud(20)).search(cloud(6, seed=1).reshape(2, 3, 32), k=5)
    assert scores.shape == rows.shape == (2, 3, 5)


def test_fewer_vectors_than_asked_for():
    scores, rows = RetrievalIndex(cloud(3)).search(cloud(4, seed=1))
    assert scores.shape == (4, 3)
    assert sorted(rows[0].tolist()) == [0, 1, 2]


def test_no_frames_give_no_frames():
    index = RetrievalIndex(cloud(20))
    assert index.search(torch.zeros(0, 32))[0].shape == (0, 8)
    assert index.retrieve(torch.zeros(1, 0, 32), 0.5).shape == (1, 0, 32)


def test_zero_distance_takes_weight_one():
    index = RetrievalIndex(cloud(50))
    mixed = index.retrieve(index.vectors[:4], 1.0)
    torch.testing.assert_close(mixed, index.vectors[:4])


def test_batch_of_duplicates_gives_no_nan():
    index = RetrievalIndex(torch.ones(30, 32))
    assert torch.equal(index.retrieve(torch.ones(5, 32), 0.75), torch.ones(5, 32))


def test_tiny_distances_do_not_overflow():
    neighbours = torch.tensor([[[1.0], [3.0]]])
    mixed = blend(torch.zeros(1, 1), neighbours, torch.tensor([[1e-30, 1e-30]]), 1.0)
    torch.testing.assert_close(mixed, torch.tensor([[2.0]]))


def test_neighbours_that_were_not_found_weigh_nothing():
    neighbours = torch.tensor([[[1.0], [9.0]], [[9.0], [9.0]]])
    scores = torch.tensor([[0.5, torch.inf], [torch.inf, torch.inf]])
    mixed = blend(torch.tensor([[0.0], [4.0]]), neighbours, scores, 1.0)
    assert mixed.tolist() == [[1.0], [4.0]]


def test_rate_zero_leaves_the_content_alone():
    content = cloud(4, seed=1)
    assert RetrievalIndex(cloud(20)).retrieve(content, 0) is content


def test_rate_outside_its_range_is_refused():
    with pytest.raises(ConfigError, match="index_rate is 1.5"):
        RetrievalIndex(cloud(20)).retrieve(cloud(4), 1.5)


def test_content_keeps_its_precision():
    assert RetrievalIndex(cloud(20)).retrieve(cloud(4).half(), 0.5).dtype == torch.float16


def test_wrong_width_says_what_was_expected_and_found():
    with pytest.raises(IndexFileError, match=r"768 wide \(v2 content\).*256 wide \(v1 content\)"):
        read_index(TINY, content_channels=256)


def test_wrong_width_of_a_query_is_refused():
    with pytest.raises(IndexFileError, match="of another voice"):
        RetrievalIndex(cloud(20)).search(cloud(4, 16))


def test_same_seed_same_file(tmp_path):
    rows = [cloud(100).numpy(), cloud(77, seed=2).numpy()]
    files = [
        write_index(tmp_path / f"{n}.index", build_index(rows, seed=7)).read_bytes()
        for n in range(2)
    ]
    assert files[0] == files[1]


def test_another_seed_another_order():
    rows = cloud(100).numpy()
    assert not torch.equal(build_index(rows, seed=1).vectors, build_index(rows, seed=2).vectors)


def test_written_index_is_what_others_expect(tmp_path):
    import faiss

    index = faiss.read_index(
        str(write_index(tmp_path / "a.index", build_index(cloud(120).numpy())))
    )
    assert (index.ntotal, index.d, index.nlist, index.nprobe, index.metric_type) == (
        120,
        32,
        3,
        1,
        1,
    )
    assert type(faiss.downcast_index(index)).__name__ == "IndexIVFFlat"


def test_bare_vectors_are_written_in_their_order(tmp_path):
    rows = cloud(90).numpy()
    np.testing.assert_array_equal(read_index(write_index(tmp_path / "b.index", rows)).vectors, rows)


def test_many_rows_are_reduced_to_centres():
    rows = cloud(6).repeat_interleave(100, 0) * 10 + 0.01 * cloud(600, seed=8)
    index = build_index(rows.numpy(), max_rows=599, centres=6)
    assert len(index) == 6
    assert "600 rows were reduced to 6" in index.warnings[0]


def test_rows_at_the_limit_are_kept():
    assert len(build_index(cloud(60).numpy(), max_rows=60, centres=6)) == 60


@pytest.mark.parametrize(
    "features", [[], [np.zeros((0, 4), np.float32)], [np.ones((2, 4)), np.ones((2, 5))], np.ones(4)]
)
def test_features_that_are_not_frames_are_refused(features):
    with pytest.raises(IndexFileError, match=r"content frames \[N, C\]"):
        build_index(features)


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(IndexFileError, match="1 of 2 content frames are not finite"):
        build_index(np.array([[1.0, np.inf], [0.0, 1.0]]))
