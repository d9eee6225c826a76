"""A small dual encoder that is really trained: photos of coloured shapes, and words for them.

Its architecture is CLIP's (Radford et al., "Learning Transferable Visual Models From Natural
Language Supervision", 2021) in small, by open_clip, whose layout on the hub it is written in.
Training takes some 15 seconds of one core.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.model import CLIP
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn.functional import cross_entropy

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 160, 60),
    "blue": (40, 60, 220),
    "yellow": (240, 210, 40),
    "purple": (140, 50, 160),
    "orange": (245, 140, 30),
}
SHAPES = ("circle", "square", "triangle", "cross", "ring")
CAPTIONS = ("a {colour} {shape}", "the {shape} in {colour}", "{colour} {shape}")
#: Captions that say less are right for more photos.
PARTIAL = ("something {colour}", "a {shape}")

SIZE, CONTEXT, END = 32, 8, 31
_WORDS = ("<pad>", "<begin>", "<unknown>", *COLOURS, *SHAPES, "a", "the", "in", "something")
_CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": SIZE,
        "layers": 2,
        "width": 64,
        "head_width": 32,
        "patch_size": 8,
    },
    "text_cfg": {
        "context_length": CONTEXT,
        "vocab_size": END + 1,
        "width": 32,
        "heads": 2,
        "layers": 1,
    },
}
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_PHOTOS, _STEPS, _BATCH, _RATE, _WARM_UP = 3000, 400, 64, 2e-3, 50


@dataclass(frozen=True)
class Thing:
    colour: str
    shape: str


def things() -> Iterator[Thing]:
    for colour in COLOURS:
        for shape in SHAPES:
            yield Thing(colour, shape)


def photo_of(thing: Thing, rng: np.random.Generator) -> Image.Image:
    """A photo, 72 x 56 pixels, of the thing somewhere near the middle on a pale ground."""
    width, height = 72, 56
    image = Image.new("RGB", (width, height), tuple(rng.integers(150, 255, 3).tolist()))
    draw = ImageDraw.Draw(image)
    radius = float(rng.uniform(12, 20))
    x, y = width / 2 + float(rng.uniform(-10, 10)), height / 2 + float(rng.uniform(-6, 6))
    shade = np.clip(np.array(COLOURS[thing.colour]) + rng.normal(0, 12, 3), 0, 255)
    fill = tuple(shade.astype(int).tolist())
    box = (x - radius, y - radius, x + radius, y + radius)
    match thing.shape:
        case "circle":
            draw.ellipse(box, fill=fill)
        case "ring":
            draw.ellipse(box, outline=fill, width=int(radius / 2.5))
        case "square":
            draw.rectangle(box, fill=fill)
        case "triangle":
            draw.polygon(
                [(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill
            )
        case _:
            bar = radius / 3
            draw.rectangle((x - bar, box[1], x + bar, box[3]), fill=fill)
            draw.rectangle((box[0], y - bar, box[2], y + bar), fill=fill)
    return image


def write_photos(folder: Path, each: int, seed: int) -> dict[str, Thing]:
    """Photos that were not trained on, `each` of every thing; their file names tell nothing."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    wanted = [thing for thing in things() for _ in range(each)]
    files = {}
    for number, place in enumerate(rng.permutation(len(wanted))):
        name = f"{number:04d}.png"
        photo_of(wanted[place], rng).save(folder / name)
        files[name] = wanted[place]
    return files


def write_hub_folder(folder: Path) -> Path:
    """Train it, and write what its repository on the hub would hold."""
    network = _trained()
    folder.mkdir(parents=True)
    preprocess = {
        "mean": _MEAN,
        "std": _STD,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    config = {"model_cfg": _CONFIG, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    weights = {name: one.contiguous() for name, one in network.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    _tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def _tokenizer() -> Tokenizer:
    vocabulary = {word: number for number, word in enumerate(_WORDS)} | {"<end>": END}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<begin> $A <end>", special_tokens=[("<begin>", 1), ("<end>", END)]
    )
    return made


def _trained() -> CLIP:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # its products are too small to share
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return _train(np.random.default_rng(0))
    finally:
        torch.set_num_threads(before)


def _train(rng: np.random.Generator) -> CLIP:
    every, captions = list(things()), list(_captions())
    # Which caption is right for which thing, and how often each is drawn for it.
    fits = np.array([[caption in _captions_of(thing) for caption in captions] for thing in every])
    which = rng.integers(0, len(every), _PHOTOS)
    see = open_clip.image_transform(SIZE, is_train=False, mean=_MEAN, std=_STD)
    photos = torch.stack([see(photo_of(every[place], rng)) for place in which])
    tokenizer = _tokenizer()
    network = CLIP(**_CONFIG)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.05)
    for step in range(_STEPS):
        rows = rng.integers(0, _PHOTOS, _BATCH)
        drawn = [int(rng.choice(np.flatnonzero(fits[which[row]]))) for row in rows]
        ids = torch.zeros(_BATCH, CONTEXT, dtype=torch.long)
        for at, caption in enumerate(drawn):
            numbers = tokenizer.encode(captions[caption]).ids
            ids[at, : len(numbers)] = torch.tensor(numbers)
        down = 0.5 * (1 + np.cos(np.pi * step / _STEPS))
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(1, step / _WARM_UP) * down
        seen, read, scale = network(photos[rows], ids)[:3]
        likeness = scale.clamp(max=50) * seen @ read.T
        # All photos that a caption is right for count, not only the one that it was drawn for.
        right = torch.tensor(fits[which[rows]][:, drawn], dtype=torch.float32)
        photos_to_words = cross_entropy(likeness, right / right.sum(1, keepdim=True))
        words_to_photos = cross_entropy(likeness.T, right.T / right.T.sum(1, keepdim=True))
        loss = (photos_to_words + words_to_photos) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def _captions_of(thing: Thing) -> set[str]:
    words = {"colour": thing.colour, "shape": thing.shape}
    return {caption.format(**words) for caption in (*CAPTIONS, *PARTIAL)}


def _captions() -> list[str]:
    return sorted(set().union(*(_captions_of(thing) for thing in things())))
