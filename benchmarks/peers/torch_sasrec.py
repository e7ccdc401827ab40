"""A plain loop: SASRec from PyTorch's own layers, batches padded to their longest row, `F.cross_entropy`."""

import time

import torch
from _leave_one_out import Customers, K, Settings, asked, diary_of
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence


class SASRec(nn.Module):
    """Learned positions, pre-norm blocks, item embeddings that serve both ends; item 0 is padding."""

    def __init__(self, num_items: int, settings: Settings) -> None:
        super().__init__()
        self.item = nn.Embedding(num_items + 1, settings.dim, padding_idx=0)
        self.position = nn.Embedding(settings.max_length, settings.dim)
        for embedding in (self.item, self.position):
            nn.init.normal_(embedding.weight, std=0.02)  # alike: by default positions are as large as 1, and drown what is read
        self.dropout = nn.Dropout(settings.dropout)
        layer = nn.TransformerEncoderLayer(
            settings.dim,
            settings.num_heads,
            4 * settings.dim,
            settings.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.blocks = nn.TransformerEncoder(layer, settings.num_blocks, nn.LayerNorm(settings.dim), enable_nested_tensor=False)

    def forward(self, items: Tensor) -> Tensor:
        """[B, L] to [B, L, D]: rows are padded at their ends, so causality alone hides the padding."""
        length = items.shape[1]
        x = self.dropout(self.item(items) + self.position.weight[:length])
        return self.blocks(x, mask=nn.Transformer.generate_square_subsequent_mask(length), is_causal=True)


def loss_of(model: SASRec, items: Tensor, settings: Settings) -> Tensor:
    """Cross-entropy of what follows each item, against the whole catalogue or a draw that the batch shares."""
    inputs, targets = items[:, :-1], items[:, 1:]
    wanted = targets > 0
    x, targets, table = model(inputs)[wanted], targets[wanted], model.item.weight
    if settings.loss == "full":
        return F.cross_entropy(x @ table[1:].T, targets - 1)
    negatives = torch.randint(1, len(table), (settings.num_negatives,))
    against = (x @ table[negatives].T).masked_fill(targets[:, None] == negatives, -torch.inf)
    logits = torch.cat([(x * table[targets]).sum(1, keepdim=True), against], 1)
    return F.cross_entropy(logits, torch.zeros_like(targets))


def train(settings: Settings, customers: Customers) -> None:
    """Epochs over shuffled customers."""
    torch.manual_seed(settings.seed)
    keys = sorted({item for items in customers.training for item in items})
    number = {key: place for place, key in enumerate(keys, 1)}
    rows = [torch.tensor([number[item] for item in items]) for items in customers.training if len(items) > 1]
    model = SASRec(len(keys), settings)
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)

    @torch.no_grad()
    def recommend(histories: list[list[str]]) -> list[list[str]]:
        model.eval()
        found = []
        for start in range(0, len(histories), 256):
            part = [
                [number[item] for item in items if item in number][-settings.max_length :] or [0]
                for items in histories[start : start + 256]
            ]
            x = model(pad_sequence([torch.tensor(items) for items in part], batch_first=True))
            last = x[torch.arange(len(part)), torch.tensor([len(items) - 1 for items in part])]
            found += [[keys[place] for place in row] for row in (last @ model.item.weight[1:].T).topk(K).indices.tolist()]
        model.train()
        return found

    diary = diary_of(settings, customers, recommend)
    for _ in range(settings.epochs):
        began = time.perf_counter()
        for batch in torch.randperm(len(rows)).split(settings.batch_size):
            loss = loss_of(model, pad_sequence([rows[place] for place in batch], batch_first=True), settings)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if diary.note(time.perf_counter() - began):
            break
    diary.close()


if __name__ == "__main__":
    path, settings = asked()
    train(settings, Customers.read(path))
