import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tests.data.pictures import encoded, picture

from kdbench.data import pictures
from kdbench.data.pictures import OtherSize, Unreadable, decode


def pixels(image: Image.Image, side: int = 8, form: str = "PNG", **options) -> np.ndarray:
    return decode(encoded(image, form, **options), side, resize=False)


def bomb(width: int, height: int) -> bytes:
    """A PNG of 60 bytes whose header promises `width` x `height` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("colour", [False, True])
def test_a_png_comes_back_pixel_for_pixel(colour):
    image = picture(1, colour=colour)
    expected = np.asarray(image)
    expected = expected.transpose(2, 0, 1) if colour else expected[None]
    assert np.array_equal(pixels(image), expected)


def test_colours_that_are_all_grey_are_grey():
    assert np.array_equal(pixels(picture(1).convert("RGB")), np.asarray(picture(1))[None])
    assert pixels(picture(1).convert("RGB"), form="JPEG").shape == (1, 8, 8)


def test_sixteen_bits_are_scaled_to_eight():
    levels = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    found = pixels(Image.fromarray(levels))
    assert np.array_equal(found, np.floor(levels / 257 + 0.5).astype(np.uint8)[None])
    assert (found.min(), found.max()) == (0, 255)


@pytest.mark.parametrize("mode", ["1", "P", "CMYK"])
def test_other_modes_give_the_colours_that_they_show(mode):
    image = picture(1, colour=True).convert(mode)
    shown = np.asarray(image.convert("RGB"), np.int64).transpose(2, 0, 1)
    found = pixels(image, form="JPEG" if mode == "CMYK" else "PNG", **({"quality": 100} if mode == "CMYK" else {}))
    assert abs(found.astype(np.int64) - shown).max() <= (40 if mode == "CMYK" else 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_laid_on_white(mode):
    if mode == "P":
        image = Image.new("P", (8, 8), 1)
        image.putpalette([0, 0, 0, 10, 20, 30])
        found = pixels(image, transparency=1)
    else:
        image = Image.new(mode, (8, 8), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
        image.putpixel((0, 0), (10, 20, 30, 255) if mode == "RGBA" else (9, 255))
        found = pixels(image)
        assert found[:, 0, 0].tolist() == ([10, 20, 30] if mode == "RGBA" else [9])
    assert (found[:, 1:] == 255).all()


def test_a_picture_is_turned_as_its_exif_says():
    image = picture(1)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    expected = np.rot90(np.asarray(image), -1)
    assert np.array_equal(pixels(image, exif=exif)[0], expected)


def test_a_broken_orientation_is_no_reason_to_leave_out_a_picture():
    assert np.array_equal(pixels(picture(1), exif=b"Exif\0\0nonsense")[0], np.asarray(picture(1)))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_the_whole_picture_is_resized_without_aliasing(form):
    lines = np.zeros((640, 320), np.uint8)
    lines[:, ::2] = 254  # finer than anything left of them
    lines[:320] //= 2
    found = decode(encoded(Image.fromarray(lines), form), 16, resize=True)
    assert found.shape == (1, 16, 16)
    assert abs(found[0, :7].astype(int) - 64).max() <= 4
    assert abs(found[0, 9:].astype(int) - 127).max() <= 4


def test_what_is_to_be_grey_is_made_so_by_luma():
    image = picture(1, colour=True)
    found = decode(encoded(image), 8, resize=False, grey=True)
    assert np.array_equal(found[0], np.asarray(image.convert("L")))


def test_another_size_is_told_and_nothing_is_cut_or_padded():
    with pytest.raises(OtherSize, match=r"^9x9$"):
        pixels(picture(1, side=9))


@pytest.mark.parametrize("size", [(50_000, 50_000), (10_001, 10_000), (15_000, 12_000)])
def test_a_picture_too_large_is_refused_by_its_header(size, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    with pictures.quiet(), pytest.raises(Unreadable, match="it has more than 100,000,000 pixels"):
        decode(bomb(*size), 8, resize=True)


def test_every_truncation_of_a_picture_is_noticed():
    for form in ("PNG", "JPEG"):
        content = encoded(picture(1), form)
        for length in range(0, len(content) - 20, 7):
            with pytest.raises(Unreadable):
                decode(content[:length], 8, resize=True)


def test_what_is_no_picture_says_what_it_is(tmp_path):
    (tmp_path / "a folder").mkdir()
    (tmp_path / "dead").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "text").write_text("no picture")
    (tmp_path / "gif").write_bytes(encoded(picture(1), "GIF"))
    (tmp_path / "empty").touch()
    reasons = {
        "a folder": "it is no file",
        "dead": "it leads nowhere",
        "missing": "there is no such file",
        "text": "it is no PNG or JPEG",
        "gif": "it is no PNG or JPEG",
        "empty": "it is empty",
    }
    for name, reason in reasons.items():
        assert str(pictures.attempt(tmp_path / name, 8, resize=True, grey=False)) == reason
    assert isinstance(pictures.attempt(tmp_path / "loop", 8, resize=True, grey=False), Unreadable)


def test_many_are_read_in_their_order(tmp_path):
    paths = []
    for number in range(2 * pictures.CHUNK + 1):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(encoded(picture(number)) if number % 50 else b"")
    found = list(pictures.read_all(paths, 8, resize=False, grey=False))
    assert len(found) == len(paths)
    for number, outcome in enumerate(found):
        if number % 50:
            assert np.array_equal(outcome.pixels[0], np.asarray(picture(number)))
        else:
            assert str(outcome) == "it is empty"
