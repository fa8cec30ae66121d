"""Sound on disk and in memory: files, filters, spectra and slices. Arrays in, arrays out.

Samples are float in -1..1; one channel is `[N]`, several are `[N, channels]`.
"""
