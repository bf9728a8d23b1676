"""The models of benchmarks/gpu in PyTorch, for gpu_pytorch.py: post-LN BERT and pre-LN ViT on scaled_dot_product_attention, ResNet-50, and the
contrastive model of three towers. Written out, so that a machine that is lent for minutes needs nothing but torch."""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """A transformer block: post-LN as BERT's or pre-LN as ViT's."""

    def __init__(self, d, heads, d_ff, dropout, attention_dropout, pre, eps):
        super().__init__()
        self.heads, self.p, self.attention_p, self.pre = heads, dropout, attention_dropout, pre
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, d_ff), nn.Linear(d_ff, d)
        self.norm1, self.norm2 = nn.LayerNorm(d, eps), nn.LayerNorm(d, eps)

    def attend(self, x, mask):
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=self.attention_p if self.training else 0.0)
        return F.dropout(self.out(o.transpose(1, 2).reshape(b, t, d)), self.p, self.training)

    def mlp(self, x):
        return F.dropout(self.down(F.gelu(self.up(x))), self.p, self.training)

    def forward(self, x, mask=None):
        if self.pre:
            x = x + self.attend(self.norm1(x), mask)
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.attend(x, mask))
        return self.norm2(x + self.mlp(x))


class Encoder(nn.Module):
    """BERT without a head. Without a mask every token counts, and attention may take its fastest kernel."""

    def __init__(self, words, d, layers, heads):
        super().__init__()
        self.word, self.position, self.kind = nn.Embedding(words + 2, d, padding_idx=0), nn.Embedding(512, d), nn.Embedding(2, d)
        self.norm = nn.LayerNorm(d, 1e-12)
        self.blocks = nn.ModuleList(Block(d, heads, 4 * d, 0.1, 0.1, False, 1e-12) for _ in range(layers))

    def encode(self, ids, mask=None):
        x = self.word(ids) + self.position.weight[: ids.shape[1]] + self.kind.weight[0]
        x = F.dropout(self.norm(x), 0.1, self.training)
        for block in self.blocks:
            x = block(x, None if mask is None else mask[:, None, None, :])
        return x


class Bert(Encoder):
    def __init__(self, words, d, layers, heads):
        super().__init__(words, d, layers, heads)
        self.classifier = nn.Linear(d, words)

    def forward(self, ids, mask):
        return self.classifier(self.encode(ids, mask))


class Vit(nn.Module):
    def __init__(self, size, d, layers, heads, d_ff, labels):
        super().__init__()
        self.patch = nn.Conv2d(3, d, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, d))
        self.position = nn.Parameter(torch.zeros(1, (size // 16) ** 2 + 1, d))
        self.blocks = nn.ModuleList(Block(d, heads, d_ff, 0.0, 0.0, True, 1e-6) for _ in range(layers))
        self.norm = nn.LayerNorm(d, 1e-6)
        self.head = nn.Linear(d, labels) if labels else nn.Identity()

    def forward(self, images):
        x = self.patch(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, 0]))


class Clip(nn.Module):
    """Image, DNA and text towers; the forward is the loss. CLIBD's DNA head: a softmax a token, then the mean."""

    def __init__(self, image, dna, text, d_embedding, log_scale):
        super().__init__()
        self.image, self.dna, self.text = Vit(*image, d_embedding), Encoder(*dna), Encoder(*text)
        d = dna[1]
        self.dna_head = nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.LayerNorm(d, 1e-12), nn.Linear(d, d_embedding), nn.Softmax(-1))
        self.text_head = nn.Linear(text[1], d_embedding)
        self.log_scale = nn.Parameter(torch.tensor(log_scale))

    def forward(self, images, dna, text, text_mask):
        towers = (self.image(images), self.dna_head(self.dna.encode(dna)).mean(1), self.text_head(self.text.encode(text, text_mask).mean(1)))
        a, b, c = (F.normalize(x, dim=-1) for x in towers)
        targets = torch.arange(len(images), device=images.device)
        loss = 0.0
        for x, y in ((a, b), (a, c), (b, c)):
            logits = self.log_scale.exp().float() * (x @ y.T).float()
            loss = loss + (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 6
        return loss


class Bottleneck(nn.Module):
    def __init__(self, d_in, d_mid, stride):
        super().__init__()
        unit = lambda i, o, kernel, stride=1: nn.Sequential(nn.Conv2d(i, o, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(o))
        self.one, self.two, self.three = unit(d_in, d_mid, 1), unit(d_mid, d_mid, 3, stride), unit(d_mid, 4 * d_mid, 1)
        self.shortcut = unit(d_in, 4 * d_mid, 1, stride) if stride != 1 or d_in != 4 * d_mid else nn.Identity()

    def forward(self, x):
        y = F.relu(self.two(F.relu(self.one(x), inplace=True)), inplace=True)
        return F.relu(self.three(y) + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """As torchvision's: the stride is in the 3 × 3 convolution."""

    def __init__(self, blocks, width, labels):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        stages, d = [], width
        for stage, count in enumerate(blocks):
            for i in range(count):
                stages.append(Bottleneck(d, width << stage, 2 if i == 0 and stage > 0 else 1))
                d = 4 * width << stage
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(d, labels) if labels else nn.Identity()

    def forward(self, images):
        return self.head(self.stages(self.stem(images)).mean((2, 3)))
