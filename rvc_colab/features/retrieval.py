"""Retrieval: the nearest content frames of a voice's own recordings, mixed into the source's.

Search is exact by default, on the device of the content: a matrix product finds more candidates
than asked for, their true squared distances are then computed from the float32 differences, which
mends the cancellation in |q|² - 2q·v + |v|² and the rounding of 16-bit products. The inverted
lists of the faiss file are the other path (`search_faiss`): faster on large banks, less exact.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rvc_colab.errors import ConfigError, IndexFileError
from rvc_colab.features.faiss_files import (
    WIDTHS,
    build_ivf,
    index_file_name,
    parse_index_name,
    read_faiss,
    write_faiss,
)

__all__ = [
    "NEIGHBOURS",
    "RetrievalIndex",
    "blend",
    "build_index",
    "index_file_name",
    "parse_index_name",
    "read_index",
    "write_index",
]

_log = logging.getLogger(__name__)

NEIGHBOURS = 8  # published
SEED = 1234
MAX_ROWS = 200_000  # above it (strictly) the rows are replaced by centres; published
CENTRES = 10_000
_KMEANS_BATCH = 4096
_BLOCK_BYTES = 64 << 20  # of one block of distances or gathered candidates
_EXTRA_CANDIDATES = {torch.float32: 8, torch.float64: 8, torch.float16: 24, torch.bfloat16: 56}


@dataclass
class RetrievalIndex:
    """The content frames of a voice.

    `vectors` float32 [N, C] on the device of the search; `products` is the precision of the
    candidate search (float16 halves its memory traffic; results stay exact, see module);
    `faiss_index` is the object of the file, if there is one.
    """

    vectors: torch.Tensor
    name: str = ""
    kind: str = ""
    warnings: list[str] = field(default_factory=list)
    faiss_index: Any = None
    products: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or not len(self.vectors):
            raise IndexFileError(
                f"An index needs vectors [N, C], N at least 1, got {tuple(self.vectors.shape)}."
            )
        self._prepare()

    def _prepare(self) -> None:
        self.vectors = self.vectors.float().contiguous()
        # Distances do not change when the origin moves to the mean and the longest row becomes 1:
        # 16-bit products then neither overflow nor spend their digits on a common offset.
        self._origin = self.vectors.mean(dim=0)
        rows = self.vectors - self._origin
        self._scale = 1 / rows.norm(dim=1).max().clamp_min(1e-12)
        rows = rows * self._scale
        self._half_norms = 0.5 * rows.square().sum(dim=1)
        self._bank = rows.to(self.products)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def width(self) -> int:
        """Return the width C of a vector: 256 for v1 voices, 768 for v2."""
        return int(self.vectors.shape[1])

    def to(self, device: torch.device | str, products: torch.dtype | None = None) -> RetrievalIndex:
        """Return this index on `device`, searching candidates in the precision `products`."""
        return RetrievalIndex(
            self.vectors.to(device),
            self.name,
            self.kind,
            self.warnings,
            self.faiss_index,
            products or self.products,
        )

    def check_width(self, content_channels: int) -> None:
        """Raise IndexFileError unless the index fits a voice of this content width."""
        if self.width != content_channels:
            raise IndexFileError(
                f"The index {self.name or 'given'} holds vectors {_width_in_words(self.width)}, "
                f"the voice needs {_width_in_words(content_channels)}: it is of another voice.",
                "Give the index made with this voice (--index PATH), or --index none.",
            )

    @torch.no_grad()
    def search(
        self, queries: torch.Tensor, k: int = NEIGHBOURS
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Find the k nearest vectors exactly.

        `queries` [T, C] or [B, T, C] → squared L2 distances float32 and row numbers int64,
        [..., k], nearest first; k is at most N. Memory is bounded whatever T and N are.
        """
        self.check_width(queries.shape[-1])
        k = min(k, len(self))
        flat = queries.reshape(-1, self.width).to(self.vectors.device).float()
        candidates = min(len(self), k + _EXTRA_CANDIDATES.get(self.products, 24))
        block = max(1, _BLOCK_BYTES // (4 * max(len(self), candidates * self.width)))
        found = [self._search_block(rows, k, candidates) for rows in flat.split(block)] or [
            (flat.new_zeros(0, k), flat.new_zeros(0, k, dtype=torch.int64))
        ]
        shape = (*queries.shape[:-1], k)
        scores = torch.cat([part[0] for part in found]).reshape(shape)
        return scores, torch.cat([part[1] for part in found]).reshape(shape)

    def _search_block(
        self, queries: torch.Tensor, k: int, candidates: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # argmin |q - v|² = argmax q·v - |v|²/2: |q|² is the same for every v.
        centred = ((queries - self._origin) * self._scale).to(self.products)
        products = (centred @ self._bank.T).float() - self._half_norms
        near = products.topk(candidates, dim=1).indices
        exact = (self.vectors[near] - queries[:, None]).square().sum(dim=2)
        scores, order = exact.topk(k, dim=1, largest=False)
        return scores, near.gather(1, order)

    def search_faiss(
        self, queries: torch.Tensor, k: int = NEIGHBOURS, nprobe: int = 1
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Find neighbours through the faiss lists, `nprobe` of them; on the CPU.

        As `search`; where the visited lists hold fewer than k vectors the score is inf and the
        row number 0. nprobe = the number of lists makes it exact.
        """
        self.check_width(queries.shape[-1])
        index = self._faiss()
        if hasattr(index, "nprobe"):
            index.nprobe = min(max(1, nprobe), index.nlist)
        flat = np.ascontiguousarray(queries.reshape(-1, self.width).float().cpu().numpy())
        k = min(k, len(self))
        distances, ids = index.search(flat, k)
        scores = torch.from_numpy(distances).masked_fill_(torch.from_numpy(ids < 0), torch.inf)
        rows = torch.from_numpy(ids).clamp_min_(0)
        shape, device = (*queries.shape[:-1], k), self.vectors.device
        return scores.reshape(shape).to(device), rows.reshape(shape).to(device)

    def _faiss(self) -> Any:
        """Return the faiss object whose answers are our row numbers, built where there is none."""
        if self.faiss_index is None:
            self.faiss_index = build_ivf(self.vectors.cpu().numpy(), SEED)
        return self.faiss_index

    def retrieve(self, content: torch.Tensor, rate: float, k: int = NEIGHBOURS) -> torch.Tensor:
        """Mix `rate` of the nearest own frames into content [T, C] or [B, T, C], kept in dtype."""
        _check_rate(rate)
        if rate == 0 or content.numel() == 0:
            return content
        scores, rows = self.search(content, k)
        query = content.to(self.vectors.device).float()
        mixed = blend(query, self.vectors[rows], scores, rate)
        return mixed.to(content.device, content.dtype)


def blend(
    query: torch.Tensor, neighbours: torch.Tensor, scores: torch.Tensor, rate: float
) -> torch.Tensor:
    """Mix neighbours into the query: rate·Σ wᵢvᵢ + (1 - rate)·query, w ∝ (1/score)², Σ w = 1.

    `query` [..., C], `neighbours` [..., k, C], `scores` [..., k] squared L2 distances. A zero
    distance takes weight 1 (several share it; the published formula gives NaN); an inf takes 0.
    """
    _check_rate(rate)
    smallest = scores.amin(dim=-1, keepdim=True)
    # (smallest/score)² is (1/score)² up to the factor that normalising removes, without overflow.
    weights = torch.where(
        smallest > 0, (smallest / scores).square(), (scores == 0).to(scores.dtype)
    )
    weights = torch.where(torch.isfinite(scores), weights, torch.zeros_like(weights))
    total = weights.sum(dim=-1, keepdim=True)
    own = ((weights / total.clamp_min(1e-30)).unsqueeze(-1) * neighbours).sum(dim=-2)
    return torch.where(total > 0, rate * own + (1 - rate) * query, query)


def read_index(
    path: str | os.PathLike[str],
    content_channels: int | None = None,
    device: torch.device | str = "cpu",
) -> RetrievalIndex:
    """Read a faiss file of RVC-WebUI, Applio or ours; check its width where one is asked.

    Raises IndexFileError saying what the file is instead, or which width was expected and found.
    """
    file = read_faiss(path)
    vectors = torch.from_numpy(file.vectors).to(device)
    index = RetrievalIndex(vectors, Path(path).name, file.kind, file.warnings, file.index)
    if content_channels is not None:
        index.check_width(content_channels)
    return index


def build_index(
    features: np.ndarray | Sequence[np.ndarray],
    seed: int = SEED,
    *,
    max_rows: int = MAX_ROWS,
    centres: int = CENTRES,
) -> RetrievalIndex:
    """Build the index of content frames float [N, C] (or a list of such, in order).

    Rows are shuffled with `seed`; more than `max_rows` are replaced by `centres` centres of
    mini-batch k-means (scikit-learn, seeded). The same input and seed give the same index.
    """
    rows = _stacked(features)
    warnings: list[str] = []
    rows = rows[np.random.RandomState(seed).permutation(len(rows))]
    if len(rows) > max_rows:
        warnings.append(f"{len(rows)} rows were reduced to {centres} k-means centres.")
        rows = _centres(rows, centres, seed)
    faiss_index = build_ivf(rows, seed)
    kind = type(faiss_index).__name__
    return RetrievalIndex(torch.from_numpy(rows), "", kind, warnings, faiss_index)


def write_index(
    path: str | os.PathLike[str], vectors: RetrievalIndex | np.ndarray | torch.Tensor
) -> Path:
    """Write an index as the published `IVF{n},Flat` file, whole or not at all; return its path.

    Bare vectors [N, C] are written in their order.
    """
    if isinstance(vectors, RetrievalIndex):
        index = vectors._faiss()
        if not hasattr(index, "nlist"):
            index = build_ivf(vectors.vectors.cpu().numpy(), SEED)
        index.nprobe = 1
        return write_faiss(path, index)
    return write_faiss(path, build_ivf(_stacked(np.asarray(vectors)), SEED))


def _stacked(features: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    parts = [features] if isinstance(features, np.ndarray) else list(features)
    widths = {part.shape[1:] for part in parts}
    if len(widths) != 1 or any(part.ndim != 2 for part in parts) or not sum(map(len, parts)):
        shapes = ", ".join(sorted({str(part.shape) for part in parts})[:3]) or "nothing"
        raise IndexFileError(
            f"An index needs content frames [N, C] of one width, got {shapes}.",
            "Extract the features again.",
        )
    rows = np.ascontiguousarray(np.concatenate(parts), dtype=np.float32)
    if not np.isfinite(rows).all():
        lost = int((~np.isfinite(rows).all(axis=1)).sum())
        raise IndexFileError(
            f"{lost} of {len(rows)} content frames are not finite.", "Extract the features again."
        )
    return rows


def _centres(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(
        n_clusters=count,
        batch_size=_KMEANS_BATCH,
        init="random",
        n_init=1,
        compute_labels=False,
        random_state=seed,
    )
    return np.ascontiguousarray(means.fit(rows).cluster_centers_, dtype=np.float32)


def _check_rate(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ConfigError(f"index_rate is {rate}; it must lie between 0 and 1.")


def _width_in_words(width: int) -> str:
    return f"{width} wide ({WIDTHS[width]} content)" if width in WIDTHS else f"{width} wide"
