"""Figures with a palette: the same picture, fewer bytes."""

import io

import numpy as np
from matplotlib import pyplot as plt
from PIL import Image

from auxlearn.reporting.plots import palette


def pixels(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def png(image):
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def test_few_colours_are_kept_exactly():
    image = np.random.default_rng(0).integers(0, 256, (15, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    small = palette.smaller(png(image))
    assert (pixels(small) == image).all()


def test_a_figure_is_smaller_and_looks_the_same():
    figure, axes = plt.subplots(figsize=(6, 4))
    axes.imshow(np.random.default_rng(0).random((6, 12)))
    axes.set_title("heads")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    plt.close(figure)
    before, after = content.getvalue(), palette.smaller(content.getvalue())
    assert len(after) < 0.6 * len(before)
    apart = np.abs(pixels(before) - pixels(after))
    assert apart.max() < 40
    assert apart.mean() < 0.5


def test_what_a_palette_would_not_shrink_is_left():
    tiny = png(np.zeros((1, 1, 3), np.uint8))
    assert palette.smaller(tiny) == tiny
