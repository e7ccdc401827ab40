"""Operators for ragged behaviour sequences that the libraries lack. Each is a folder: the public call, its plain reference, its fast path.

ragged              rows of different lengths as values plus offsets: owners, lengths, pad, unpad
linear_logsumexp    log of the sum of exp(x·w + b) over a catalogue, forward and backward, without keeping the logits
"""
