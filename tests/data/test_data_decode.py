"""Every format, every way in which an image can be broken."""

import io
import os
import threading
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likewise.data.decode import UnreadableImage, image_shape, read_image, to_square
from likewise.data.quiet import quiet_pillow

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(side: int = 32) -> Image.Image:
    """Red, green / blue, white."""
    pixels = np.empty((side, side, 3), np.uint8)
    half = side // 2
    pixels[:half, :half], pixels[:half, half:] = RED, GREEN
    pixels[half:, :half], pixels[half:, half:] = BLUE, WHITE
    return Image.fromarray(pixels)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def corners(square: np.ndarray) -> list[tuple[int, ...]]:
    """Colours of the four quarters, in reading order, rounded to the nearest of 0 and 255."""
    near, far = len(square) // 4, 3 * len(square) // 4
    picked = [square[near, near], square[near, far], square[far, near], square[far, far]]
    return [tuple(int(value > 127) * 255 for value in colour) for colour in picked]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_formats(format: str) -> None:
    square = read_image(encoded(quarters(), format), 16)
    assert square.shape == (16, 16, 3)
    assert square.dtype == np.uint8
    assert corners(square) == [RED, GREEN, BLUE, WHITE]


def test_path_and_bytes_agree(tmp_path: Path) -> None:
    data = encoded(quarters(), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        np.testing.assert_array_equal(read_image(path, 8), read_image(data, 8))
        assert image_shape(path) == (32, 32)


@pytest.mark.parametrize("format", ["JPEG", "TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, format: str) -> None:
    upright = quarters()
    # How a camera stores the picture so that turning it as the tag says gives it upright.
    turns = Image.Transpose
    stored = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_90,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_270,
    }
    image = upright.transpose(stored[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, format, exif=exif)
    assert corners(read_image(data, 16)) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize(("orientation", "shape"), [(1, (40, 20)), (3, (40, 20)), (6, (20, 40)), (8, (20, 40))])
def test_shape_is_as_seen(orientation: int, shape: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert image_shape(encoded(Image.new("RGB", (40, 20)), "JPEG", exif=exif)) == shape


def test_broken_exif_leaves_the_pixels() -> None:
    data = encoded(quarters(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    assert corners(read_image(data, 16)) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(format: str) -> None:
    values = np.array([[0, 257], [25700, 65535]], np.uint16)
    square = read_image(encoded(Image.fromarray(values), format), 2)
    assert square[..., 0].tolist() == [[0, 1], [100, 255]]


def test_dark_16_bit_grey_stays_dark() -> None:
    assert read_image(encoded(Image.fromarray(np.full((2, 2), 200, np.uint16)), "PNG"), 2).max() == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.0, 0.2], [0.4, 1.0]], [[0, 51], [102, 255]]),
        ([[0.0, 51.0], [102.0, 255.0]], [[0, 51], [102, 255]]),
        ([[0.0, 257.0], [25700.0, 65535.0]], [[0, 1], [100, 255]]),
        ([[-100.0, 0.0], [0.0, 100.0]], [[0, 128], [128, 255]]),
        ([[-5.0, -5.0], [-5.0, -5.0]], [[0, 0], [0, 0]]),
    ],
)
def test_float_tiff(values: list[list[float]], expected: list[list[int]]) -> None:
    square = read_image(encoded(Image.fromarray(np.array(values, np.float32)), "TIFF"), 2)
    assert np.abs(square[..., 0].astype(int) - expected).max() <= 1  # a half may round either way


def test_32_bit_integers_are_stretched() -> None:
    values = np.array([[-(2**30), 0], [0, 2**30]], np.int32)
    square = read_image(encoded(Image.fromarray(values), "TIFF"), 2)
    assert (square[0, 0, 0], square[1, 1, 0]) == (0, 255)


def test_float_tiff_with_nan() -> None:
    with pytest.raises(UnreadableImage, match="not finite"):
        read_image(encoded(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF"), 2)


def test_cmyk() -> None:
    assert corners(read_image(encoded(quarters().convert("CMYK"), "JPEG"), 16)) == [RED, GREEN, BLUE, WHITE]


def test_one_bit() -> None:
    image = Image.fromarray(np.tile(np.array([[0, 255]], np.uint8), (2, 1))).convert("1")
    assert read_image(encoded(image, "PNG"), 2)[0, :, 1].tolist() == [0, 255]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_laid_over_white(mode: str) -> None:
    image = Image.new(mode, (4, 4), (0, 0) if mode == "LA" else (0, 0, 0, 0))
    image.paste((0, 255) if mode == "LA" else (0, 0, 0, 255), (0, 0, 2, 4))
    square = read_image(encoded(image, "PNG"), 4)
    assert square[0, 0].tolist() == [0, 0, 0]
    assert square[0, 3].tolist() == [255, 255, 255]


def test_palette_with_transparent_colour() -> None:
    image = quarters().convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    red = image.getpixel((0, 0))
    assert corners(read_image(encoded(image, "PNG", transparency=red), 16)) == [WHITE, GREEN, BLUE, WHITE]
    levels = bytes(0 if index == red else 255 for index in range(4))
    assert corners(read_image(encoded(image, "PNG", transparency=levels), 16)) == [WHITE, GREEN, BLUE, WHITE]


@pytest.mark.parametrize(("mode", "colour"), [("L", 0), ("RGB", (0, 0, 0))])
def test_transparent_colour_without_alpha_channel(mode: str, colour: object) -> None:
    data = encoded(Image.new(mode, (4, 4)), "PNG", transparency=colour)
    assert read_image(data, 2).min() == 255


def test_animated_gif_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_image(data, 4)[0, 0].tolist() == list(RED)


@pytest.mark.parametrize("shape", [(60, 20), (20, 60)])
def test_centre_is_cut_out(shape: tuple[int, int]) -> None:
    image = Image.new("RGB", shape, RED)
    left, top = (shape[0] - 20) // 2, (shape[1] - 20) // 2
    image.paste(GREEN, (left, top, left + 20, top + 20))
    square = read_image(encoded(image, "PNG"), 10)
    assert (square[1:-1, 1:-1] == GREEN).all()  # antialiasing looks a little over the edge


@pytest.mark.parametrize("shape", [(5000, 1), (1, 5000), (1, 1)])
def test_extreme_shapes_stay_small(shape: tuple[int, int]) -> None:
    assert (read_image(encoded(Image.new("RGB", shape, BLUE), "PNG"), 224) == BLUE).all()


def test_large_jpeg_is_near_its_full_decoding() -> None:
    ramp = np.tile(np.linspace(0, 255, 1000).astype(np.uint8), (600, 1))
    data = encoded(Image.fromarray(ramp), "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as image:
        whole = to_square(image, 64)
    assert np.abs(read_image(data, 64).astype(int) - whole).max() <= 4


JPEG = encoded(quarters(64), "JPEG")
PNG = encoded(quarters(64), "PNG")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"this is no picture", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (JPEG[:20], "is"),
        (JPEG[: len(JPEG) // 2], "is cut short"),
        (PNG[: len(PNG) // 2], "is"),
        (PNG[:60] + b"\0" * (len(PNG) - 60), "is broken"),
        (encoded(quarters(), "GIF")[:40], "is"),
        (encoded(quarters(), "TIFF")[:200], "is"),
        (encoded(quarters(), "WEBP")[:40], "is"),
        (encoded(quarters(), "BMP")[:100], "is cut short"),
    ],
)
def test_broken_data(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=f"^{reason}" if reason == "is" else reason):
        read_image(data, 16)


def test_decompression_bomb() -> None:
    header = bytearray(encoded(Image.new("1", (8, 8)), "BMP"))
    header[18:26] = (60_000).to_bytes(4, "little") * 2
    with pytest.raises(UnreadableImage, match="too many pixels"):
        read_image(bytes(header), 16)
    with pytest.raises(UnreadableImage, match="too many pixels"):
        image_shape(bytes(header))


def test_broken_paths(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "text.jpg").write_text("hello")
    for name, reason in [
        ("gone.jpg", "does not exist"),
        ("", "is a folder"),
        ("pipe.jpg", "not a regular file"),
        ("text.jpg", "not an image"),
        ("nul\0.jpg", "is broken"),
    ]:
        with pytest.raises(UnreadableImage, match=reason):
            read_image(tmp_path / name, 16)


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(PNG)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)  # a mode of 000 stops nobody who runs as root
    with pytest.raises(UnreadableImage, match="permission denied"):
        read_image(tmp_path / "a.png", 16)


def test_random_damage_never_escapes() -> None:
    rng = np.random.default_rng(0)
    for format in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"):
        whole = np.frombuffer(encoded(quarters(), format), np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            damaged[rng.integers(0, len(damaged), 6)] = rng.integers(0, 256, 6)
            with suppress(UnreadableImage):
                assert read_image(damaged.tobytes(), 8).shape == (8, 8, 3)


def test_pillow_warnings_are_silent_and_filters_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    before = list(warnings.filters)
    assert read_image(encoded(quarters(40), "PNG"), 8).shape == (8, 8, 3)  # more than the limit, less than twice
    assert list(warnings.filters) == before


def test_overlapping_silence_in_threads() -> None:
    before, entered, go = list(warnings.filters), threading.Event(), threading.Event()

    def hold() -> None:
        with quiet_pillow():
            entered.set()
            go.wait(5)

    thread = threading.Thread(target=hold)
    with quiet_pillow():
        thread.start()
        entered.wait(5)
    assert len(warnings.filters) == len(before) + 1
    go.set()
    thread.join()
    assert list(warnings.filters) == before


def test_a_decoder_that_scales_gives_nearly_the_same_pixels() -> None:
    # sides that no power of two divides: the decoder rounds its last row and column up
    coarse = Image.fromarray(np.random.default_rng(0).integers(64, 192, (24, 40, 3), dtype=np.uint8))
    data = encoded(coarse.resize((331, 203), Image.Resampling.BICUBIC), "JPEG", quality=95)
    quick, full = (read_image(data, 24, scaled).astype(int) for scaled in (True, False))
    assert (quick != full).any()
    assert np.abs(quick - full).mean() < 1
    with Image.open(io.BytesIO(data)) as whole:
        np.testing.assert_array_equal(full, to_square(whole, 24))


def test_formats_without_such_a_decoder_and_sizes_that_it_does_not_cover_are_the_same() -> None:
    picture = quarters(32)
    for data, size in [(encoded(picture, "PNG"), 8), (encoded(picture, "JPEG"), 9), (encoded(picture, "JPEG"), 32)]:
        np.testing.assert_array_equal(read_image(data, size, scaled=True), read_image(data, size, scaled=False))
