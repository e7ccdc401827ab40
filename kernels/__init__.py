"""Operators for ragged behaviour sequences that the libraries lack. Each is a folder: the public call, its plain reference, its fast paths.

ragged                rows of different lengths as values plus offsets: pad, unpad, concatenate, keep the last n, append one event
jagged_attention      causal softmax attention over such rows
hstu_attention        causal pointwise SiLU attention over such rows
gap_bias              what both add to a logit for the places and the time between two tokens
linear_cross_entropy  softmax loss over a catalogue, whole or sampled, and its normaliser, without keeping the logits
topk_inner_product    the best items of a large catalogue for each query, without keeping the scores
sessions              sessions by silence, places, offsets and packing of sorted tables, on numpy and CuPy arrays

`dispatch` chooses the path, `launch` and `ahead_of_time` compile the fused ones for cards that this machine need not have.
"""
