"""Operators for ragged behaviour sequences that the libraries lack. Each is a folder: the public call, its plain reference, its fast path.

ragged                rows of different lengths as values plus offsets: owners, lengths, pad, unpad
linear_cross_entropy  softmax loss over a catalogue, whole or sampled, and its normaliser, without keeping the logits
"""
