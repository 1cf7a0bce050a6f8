"""Headers that are wrong about their film: depth, sign, LUTs, commas, colours. The film is shown as it is, and a note says what was wrong."""

import io

import dicoms
import numpy as np
import pytest
from dicoms import cr, lut, written
from PIL import Image
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from scipy.stats import spearmanr

from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.films.film import DecodedFilm
from mtclip_edge.films.read import read_film


@pytest.fixture
def smooth(random: np.random.Generator) -> np.ndarray:
    """Eight bits of something like a film: soft hills over the whole range, some noise, a saturated marker on black."""
    y, x = np.mgrid[0:120, 0:100] / 100
    hills = np.sin(5 * x + 1) * np.cos(4 * y) + 0.5 * np.sin(9 * y * x)
    grey = 255 * (hills - hills.min()) / np.ptp(hills) + random.normal(0, 1, hills.shape)
    grey[2:14, 2:24], grey[5:11, 5:9] = 0, 255
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


@pytest.fixture
def deep(smooth: np.ndarray) -> np.ndarray:
    """The same with twelve bits."""
    return (smooth.astype(np.uint16) << 4) | 7


def alike(film: DecodedFilm, truth: np.ndarray) -> bool:
    return bool(spearmanr(film.grey.ravel(), truth.ravel())[0] >= 0.999)


@pytest.mark.parametrize("syntax", [dicoms.EXPLICIT, dicoms.BIG, dicoms.RLE])
@pytest.mark.parametrize("said", [9, 10, 11])
def test_values_beyond_the_bits_stored_are_taken_as_they_are(
    deep: np.ndarray, said: int, syntax: str
) -> None:
    film = read_film(written(cr(deep, said), syntax))
    assert alike(film, deep)
    assert film.notes == (f"its values are 7 to 4087, beyond the {said} bits stored: taken as they are",)


def test_twelve_bits_under_a_header_of_eight(deep: np.ndarray) -> None:
    film = read_film(written(cr(deep, 8)))
    assert alike(film, deep) and film.notes == (
        "its values are 7 to 4087, beyond the 8 bits stored: taken as they are",
    )


def test_one_plane_of_bytes_in_rle_under_sixteen_bits(smooth: np.ndarray) -> None:
    data = written(cr(smooth, 8), dicoms.RLE).replace(
        b"\x28\0\0\x01US\x02\0\x08\0", b"\x28\0\0\x01US\x02\0\x10\0"
    )
    np.testing.assert_array_equal(read_film(data).grey, smooth)


@pytest.mark.parametrize("syntax", [dicoms.J2K, dicoms.JPEG_LS])
def test_a_stream_is_deeper_than_its_header_says(deep: np.ndarray, syntax: str) -> None:
    dataset = cr(deep, 12)
    data = written(dataset, syntax).replace(b"\x28\0\x01\x01US\x02\0\x0c\0", b"\x28\0\x01\x01US\x02\0\x0a\0")
    film = read_film(data)
    assert alike(film, deep) and "beyond the 10 bits stored" in film.notes[0]


def test_sixteen_bits_under_twelve_and_a_window_for_sixteen(smooth: np.ndarray) -> None:
    full = (smooth.astype(np.uint16) << 8) | smooth
    for fields in ({}, {"WindowCenter": 32768, "WindowWidth": 65536}):
        film = read_film(written(cr(full, 12, **fields)))
        assert alike(film, smooth) and len(film.notes) == 1
    film = read_film(written(cr(full, 12, WindowCenter=2048, WindowWidth=4096)))
    assert alike(film, np.minimum(full, 4096)) and len(film.notes) == 1


def test_a_window_for_other_numbers_is_not_followed(smooth: np.ndarray) -> None:
    """Eight bits in the stream, a header of sixteen with a window to fit: the film would be black."""
    film = read_film(
        jpeg(smooth, BitsAllocated=16, BitsStored=16, HighBit=15, WindowCenter=32768, WindowWidth=65536)
    )
    assert alike(film, smooth) is False or film.grey.std() > 30
    assert film.notes == (
        "its samples have 8 bits, its header says 16",
        "the window is not meant for these values; percentiles instead",
    )


@pytest.mark.parametrize("bits", [12, 16])
def test_the_sign_that_the_values_have(smooth: np.ndarray, bits: int) -> None:
    """Unsigned values under a signed header, and the other way round."""
    unsigned = smooth.astype(np.uint16) << (bits - 8)
    film = read_film(written(cr(unsigned, bits, PixelRepresentation=1)))
    assert alike(film, smooth) and "header says that they are signed" in film.notes[0]
    signed = (unsigned.astype(np.int32) - (1 << (bits - 1))).astype(np.int16)
    film = read_film(written(cr(signed, bits, PixelRepresentation=0)))
    assert alike(film, smooth) and len(film.notes) == 1


@pytest.mark.parametrize(("bits", "allocated"), [(8, 8), (8, 16), (10, 16), (12, 16), (16, 16)])
@pytest.mark.parametrize("signed", [False, True])
def test_a_right_header_is_followed_without_a_note(
    smooth: np.ndarray, bits: int, allocated: int, signed: bool
) -> None:
    values = smooth.astype(np.int32) << (bits - 8)
    pixels = (
        (values - (1 << (bits - 1))).astype(f"i{allocated // 8}")
        if signed
        else values.astype(f"u{allocated // 8}")
    )
    # pydicom writes RLE of 8 bits in 16 that no reader takes: half of each plane
    for syntax in (dicoms.EXPLICIT, dicoms.J2K, *((dicoms.RLE,) if (bits, allocated) != (8, 16) else ())):
        film = read_film(written(cr(pixels, bits), syntax))
        assert alike(film, smooth) and film.notes == ()


def test_signed_values_whose_upper_bits_are_zero(smooth: np.ndarray) -> None:
    signed = ((smooth.astype(np.int32) << 4) - 2048).astype(np.int16) & 0x0FFF
    film = read_film(written(cr(signed, 12)))
    assert alike(film, smooth)


def test_overlays_in_high_bits_are_no_part_of_the_film(deep: np.ndarray, random: np.random.Generator) -> None:
    writing = random.random(deep.shape) < 0.05
    for bit in (12, 15):
        drawn = deep | (writing.astype(np.uint16) << bit)
        unsaid = read_film(written(cr(drawn, 12)))
        assert alike(unsaid, deep) and unsaid.notes == (
            "what stands above the 12 bits stored is no part of the values; left out",
        )
        dataset = cr(drawn, 12)
        dataset.add_new(0x60000100, "US", 16)
        dataset.add_new(0x60000102, "US", bit)
        said = read_film(written(dataset))
        assert alike(said, deep) and said.notes == ()
    everywhere = read_film(written(cr(deep | 0x8000, 12)))
    assert alike(everywhere, deep) and everywhere.notes == ()


def test_padding_outside_the_bits_stored(deep: np.ndarray) -> None:
    padded = deep.copy()
    padded[:30] = 63536
    film = read_film(written(cr(padded, 12, PixelPaddingValue=63536)))
    assert film.grey[:30].max() == 0 and film.notes == ()
    assert spearmanr(film.grey[30:].ravel(), deep[30:].ravel())[0] >= 0.999


# LUTs


@pytest.mark.parametrize(("said", "shift"), [(16, 0), (16, 2), (16, 4), (12, 2), (10, 0), (8, 0)])
def test_a_lut_is_scaled_by_what_it_holds(deep: np.ndarray, said: int, shift: int) -> None:
    entries = (np.arange(4096) >> shift).tolist()
    film = read_film(written(cr(deep, 12, VOILUTSequence=lut(0, entries, said))))
    expected = np.rint(255.0 * (deep >> shift) / (4095 >> shift))
    assert np.abs(film.grey - expected).max() <= 1
    assert film.notes == (f"the VOI LUT says {said} bits and holds {12 - shift}: scaled by what it holds",)


def test_a_modality_lut_that_says_other_bits(deep: np.ndarray) -> None:
    film = read_film(
        written(
            cr(
                deep,
                12,
                ModalityLUTSequence=lut(0, list(range(4096)), 16),
                WindowCenter=2048,
                WindowWidth=4096,
            )
        )
    )
    assert np.abs(film.grey - deep / 4095 * 255).max() <= 1
    assert film.notes == ("the modality LUT says 16 bits and holds 12: taken as it is",)


@pytest.mark.parametrize(("vr", "first"), [("US", 61440), ("SS", -4096)])
def test_the_first_value_of_a_lut_has_the_sign_of_what_is_looked_up(
    smooth: np.ndarray, vr: str, first: int
) -> None:
    """Written as either VR, the first value is signed over a rescale below zero, unsigned over plain unsigned values."""
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [4096, first, 12])
    item.add_new("LUTData", "US", list(range(4096)))
    below = smooth.astype(np.uint16) << 4
    film = read_film(
        written(cr(below, 12, RescaleSlope=1, RescaleIntercept=-4096, VOILUTSequence=Sequence([item])))
    )
    assert np.abs(film.grey - below / 4095 * 255).max() <= 1 and film.notes == ()
    above = below + 61440
    film = read_film(written(cr(above, 16, VOILUTSequence=Sequence([item]))))
    assert np.abs(film.grey - below / 4095 * 255).max() <= 1 and film.notes == ()


def test_a_lut_of_40000_entries_written_as_signed(smooth: np.ndarray) -> None:
    values = smooth.astype(np.uint16) * 156
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [40000, 0, 16])
    item.add_new("LUTData", "OW", (np.arange(40000) + 25535).astype("<u2").tobytes())
    data = written(cr(values, 16, VOILUTSequence=Sequence([item]))).replace(
        b"\x28\0\x02\x30US", b"\x28\0\x02\x30SS"
    )
    film = read_film(data)
    assert np.abs(film.grey - (values + 25535.0) / 65535 * 255).max() <= 1 and film.notes == ()


def test_a_lut_of_bytes_whatever_its_descriptor_says(smooth: np.ndarray) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [256, 0, 16])
    item.add_new("LUTData", "OW", bytes(range(256)))
    film = read_film(written(cr(smooth, 8, VOILUTSequence=Sequence([item]))))
    np.testing.assert_array_equal(film.grey, smooth)
    assert film.notes == ("the VOI LUT says 16 bits and holds 8: scaled by what it holds",)


# Numbers, functional groups, missing fields


def respelled(dataset: FileDataset, **spelled: str) -> bytes:
    """The file with decimal strings as no library writes them, each as long as what stood there."""
    data = written(dataset)
    for old, new in ((str(dataset[name].value), new) for name, new in spelled.items()):
        assert data.count(old.encode()) == 1 and len(old) == len(new)
        data = data.replace(old.encode(), new.encode())
    return data


def test_a_decimal_comma_is_a_point(deep: np.ndarray) -> None:
    dataset = cr(deep, 12, WindowCenter="1800.5", WindowWidth="1000.25")
    film = read_film(respelled(dataset, WindowCenter="1800,5", WindowWidth="1000,25"))
    np.testing.assert_array_equal(film.grey, read_film(written(dataset)).grey)
    assert film.notes == (
        "Window Center has a decimal comma: read as a point",
        "Window Width has a decimal comma: read as a point",
    )
    turned = read_film(
        respelled(cr(deep, 12, RescaleSlope="-1.000", RescaleIntercept="4095.0"), RescaleSlope="-1,000")
    )
    assert spearmanr(turned.grey.ravel(), deep.ravel())[0] <= -0.999
    assert turned.notes == ("Rescale Slope has a decimal comma: read as a point",)


def test_a_number_that_cannot_be_read_is_noted_and_not_quoted(deep: np.ndarray) -> None:
    film = read_film(
        respelled(cr(deep, 12, WindowCenter="1800.555", WindowWidth="1000"), WindowCenter="DOE^JANE")
    )
    assert alike(film, deep) and film.notes == ("Window Center cannot be read; ignored",)


@pytest.mark.parametrize("groups", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_rescale_and_window_of_the_only_frame(deep: np.ndarray, groups: str) -> None:
    voi, rescale, group = Dataset(), Dataset(), Dataset()
    voi.WindowCenter, voi.WindowWidth = "1800", "1000"
    rescale.RescaleSlope, rescale.RescaleIntercept = "-1", "4095"
    group.FrameVOILUTSequence, group.PixelValueTransformationSequence = Sequence([voi]), Sequence([rescale])
    film = read_film(written(cr(deep, 12, NumberOfFrames=1, **{groups: Sequence([group])})))
    fields = {"WindowCenter": 1800, "WindowWidth": 1000, "RescaleSlope": -1, "RescaleIntercept": 4095}
    np.testing.assert_array_equal(film.grey, read_film(written(cr(deep, 12, **fields))).grey)
    assert film.notes == ()


@pytest.mark.parametrize(
    ("field", "note"),
    [
        ("PhotometricInterpretation", "no Photometric Interpretation; taken as MONOCHROME2"),
        ("SamplesPerPixel", "no Samples per Pixel; taken as one"),
        ("PixelRepresentation", "no Pixel Representation; taken as unsigned"),
        ("BitsStored", "no Bits Stored; taken as the 16 allocated"),
    ],
)
def test_a_field_that_is_missing(deep: np.ndarray, field: str, note: str) -> None:
    film = read_film(written(cr(deep, 12, **{field: None})))
    assert alike(film, deep) and film.notes == (note,)


@pytest.mark.filterwarnings("ignore")  # pydicom's, while it writes
@pytest.mark.parametrize("kind", ["monochrome1", "Monochrome1 "])
def test_a_photometric_interpretation_in_small_letters(deep: np.ndarray, kind: str) -> None:
    film = read_film(written(cr(4095 - deep, 12, PhotometricInterpretation=kind)))
    assert alike(film, deep) and film.notes == ()


@pytest.mark.parametrize("said", [2048, 3000])
def test_a_lut_of_more_entries_than_its_descriptor_says(deep: np.ndarray, said: int) -> None:
    curve = list(range(4096))
    dataset = cr(deep, 12, VOILUTSequence=lut(0, curve, 12))
    dataset.VOILUTSequence[0].LUTDescriptor = [said, 0, 12]
    film = read_film(written(dataset))
    assert alike(film, deep)
    assert film.notes == (f"the VOI LUT says {said} entries and holds 4096: all are used",)


def test_what_fills_up_a_lut_is_none_of_it(deep: np.ndarray) -> None:
    """Above its last entry a LUT stays as it is; zeros behind it would turn white to black."""
    dataset = cr(deep, 12, VOILUTSequence=lut(0, [*range(3000), *[0] * 1096], 12))
    dataset.VOILUTSequence[0].LUTDescriptor = [3000, 0, 12]
    film = read_film(written(dataset))
    assert alike(film, np.minimum(deep, 2999)) and film.notes == ()


def test_a_lut_of_half_the_words_that_it_says_is_not_taken_for_bytes(deep: np.ndarray) -> None:
    dataset = cr(deep, 12, VOILUTSequence=lut(0, list(range(4096)), 12))
    dataset.VOILUTSequence[0].LUTDescriptor = [8192, 0, 12]
    film = read_film(written(dataset))
    assert alike(film, deep) and film.notes == ("the VOI LUT makes no sense; ignored",)
    packed = np.arange(4096) // 16
    dataset = cr(deep, 12, VOILUTSequence=lut(0, packed.astype(np.uint8).view("<u2").tolist(), 16))
    dataset.VOILUTSequence[0].LUTDescriptor = [4096, 0, 16]
    film = read_film(written(dataset))
    assert alike(film, packed[deep]) and "says 16 bits and holds 8" in film.notes[0]


def test_refusals_name_what_is_wrong(deep: np.ndarray, smooth: np.ndarray) -> None:
    def refusal(data: bytes) -> str:
        with pytest.raises(FilmUnreadable) as caught:
            read_film(data, "x")
        return str(caught.value)

    empty = cr(deep, 12)
    empty.PixelData = b""
    private = written(cr(deep, 12)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.113619.5.2\0\0")
    colours = np.stack([smooth] * 3, -1)
    assert refusal(written(empty)) == "x: damaged DICOM (its pixel data are empty)"
    assert refusal(private) == "x: a private transfer syntax, not one of DICOM's"
    assert "3 samples of no Photometric Interpretation" in refusal(
        written(cr(colours, 8, PhotometricInterpretation=None))
    )
    assert refusal(written(cr(deep, 12, BitsAllocated=None))) == "x: damaged DICOM (no Bits Allocated)"
    floats = cr(deep, 12, FloatPixelData=deep.astype(np.float32).tobytes())
    del floats.PixelData
    assert "its pixels are floating point numbers" in refusal(written(floats))


# JPEG


def jpeg(pixels: np.ndarray, change: bytes | None = None, **fields: object) -> bytes:
    """A baseline JPEG under a header of its own; ``change`` numbers the three components so and leaves JFIF out."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0)
    stream = buffer.getvalue()
    if change is not None:
        stream = renumbered(stream, change)
    dataset = cr(pixels, 8, **fields)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = dicoms.BASELINE
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def renumbered(stream: bytes, names: bytes) -> bytes:
    data = bytearray(stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :])
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    for place, name in enumerate(names):
        data[frame + 10 + 3 * place] = name
        data[scan + 5 + 2 * place] = name
    return bytes(data)


@pytest.mark.parametrize(("allocated", "stored", "noted"), [(8, 8, 0), (16, 8, 0), (16, 12, 1)])
def test_a_grey_jpeg_of_eight_bits_under_any_depth(
    smooth: np.ndarray, allocated: int, stored: int, noted: int
) -> None:
    film = read_film(jpeg(smooth, BitsAllocated=allocated, BitsStored=stored, HighBit=stored - 1))
    assert np.abs(film.grey.astype(int) - smooth).mean() < 4 and len(film.notes) == noted


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422"])
@pytest.mark.parametrize("names", [None, b"\1\2\3"])
def test_components_1_2_3_are_ycbcr_whatever_the_header_says(
    smooth: np.ndarray, kind: str, names: bytes | None
) -> None:
    colours = np.stack([smooth, 255 - smooth, np.full_like(smooth, 90)], -1)
    truth = np.asarray(Image.fromarray(colours).convert("L"))
    film = read_film(jpeg(colours, names, PhotometricInterpretation=kind, PlanarConfiguration=0))
    assert film.coloured and np.abs(film.grey.astype(int) - truth).mean() < 4


def test_components_of_no_known_name_are_what_the_header_says(smooth: np.ndarray) -> None:
    colours = np.stack([smooth, 255 - smooth, np.full_like(smooth, 90)], -1)
    as_stored = np.asarray(Image.fromarray(colours).convert("YCbCr"))
    truth = np.asarray(
        Image.fromarray(np.ascontiguousarray(as_stored)).convert("L")
    )  # its components taken for RGB
    film = read_film(jpeg(colours, b"\7\10\11", PhotometricInterpretation="RGB", PlanarConfiguration=0))
    assert np.abs(film.grey.astype(int) - truth).mean() < 4


def test_a_colour_stream_under_a_grey_header_and_the_contrary(smooth: np.ndarray) -> None:
    colours = np.stack([smooth] * 3, -1)
    film = read_film(jpeg(colours, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2"))
    assert np.abs(film.grey.astype(int) - smooth).mean() < 4 and film.notes == (
        "its stream has 3 samples a pixel, its header says 1",
    )
    film = read_film(jpeg(smooth, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0))
    assert np.abs(film.grey.astype(int) - smooth).mean() < 4 and film.notes == (
        "its stream has 1 samples a pixel, its header says 3",
    )
