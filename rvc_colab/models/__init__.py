"""The networks: nn.Modules only; no files, no choice of device.

Letters of every shape comment in this package:

    B  items in a batch
    T  model frames, 100 per second (10 ms each)
    N  samples at the voice's rate, N = T * hop
    S  samples of a training slice
    C  channels; the content's width where it stands last in [B, T, C]
    F  bins of the linear spectrogram, n_fft // 2 + 1
    H  attention heads
    K  taps of a kernel
    W  window of the relative attention (10 frames to either side)

Attributes that appear in state-dict keys (`enc_p`, `dec`, `emb_g`, `m_source`, …) keep the spelling
of the published checkpoints, because they are the file format.
"""
