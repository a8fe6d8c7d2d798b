"""Does every spelling of a duration, a size and a percentage mean what the contract says?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.units import fraction, human_bytes, human_seconds, seconds, size_bytes

KIB = 1024
NOT_A_DURATION = ["", " ", "s", "-1s", "+5", "1,5s", "1h30m", "5 weeks", "1e3", "inf", "nan", ".5s", "5.s"]
NOT_A_SIZE = ["", "M", "-1M", "1,5G", "1P", "512 MBit", "1iB", "1e6", "inf", "0x10", "5.M"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90.0),
        ("0", 0.0),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1.5h", 5400.0),
        ("250ms", 0.25),
        ("2d", 172800.0),
        (" 5 M ", 300.0),
    ],
)
def test_durations(text: str, expected: float) -> None:
    """A duration is a number of seconds, or a number and one of ms, s, m, h, d in either case."""
    actual = seconds(text)

    assert expected == pytest.approx(actual)


@pytest.mark.parametrize("text", NOT_A_DURATION)
def test_not_a_duration(text: str) -> None:
    """Anything else is refused with the text itself and the spellings that are right."""
    with pytest.raises(ValueError, match="is not a duration: write 30s") as caught:
        seconds(text)

    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1048576", 1048576),
        ("1B", 1),
        ("512M", 512 * KIB**2),
        ("512MiB", 512 * KIB**2),
        ("1.5GiB", 3 * KIB**3 // 2),
        ("2t", 2 * KIB**4),
        ("100MB", 100_000_000),
        ("1 kb", 1000),
        ("0.5K", 512),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    """Sizes are powers of 1024, unless the unit ends in a plain B."""
    actual = size_bytes(text)

    assert expected == actual


@pytest.mark.parametrize("text", NOT_A_SIZE)
def test_not_a_size(text: str) -> None:
    """Anything else is refused with the text itself and the spellings that are right."""
    with pytest.raises(ValueError, match="is not a size: write 512M") as caught:
        size_bytes(text)

    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(("text", "expected"), [("80%", 0.8), ("100 %", 1.0), ("0.5%", 0.005)])
def test_percentages(text: str, expected: float) -> None:
    """A percentage becomes a fraction of one."""
    actual = fraction(text)

    assert expected == pytest.approx(actual)


@pytest.mark.parametrize("text", ["0%", "101%", "80", "0.8", "-5%", "%", ""])
def test_not_a_percentage(text: str) -> None:
    """Nothing, more than everything, and a number without its sign are refused."""
    with pytest.raises(ValueError, match="is not a percentage between") as caught:
        fraction(text)

    assert repr(text) in str(caught.value)


@given(st.integers(min_value=0, max_value=10**7))
def test_whole_seconds_are_read_back(count: int) -> None:
    """What is shown for whole seconds is read back as the same number, up to the six digits that are shown."""
    actual = seconds(human_seconds(count))

    assert count == pytest.approx(actual, rel=1e-5)


@given(st.integers(min_value=0, max_value=999))
def test_milliseconds_are_read_back(count: int) -> None:
    """What is shown below a second is read back to the millisecond."""
    actual = seconds(human_seconds(count / 1000))

    assert count / 1000 == pytest.approx(actual, abs=0.0006)


@given(st.integers(min_value=0, max_value=2**50))
def test_sizes_are_read_back(count: int) -> None:
    """What is shown for a size is read back within the one decimal that is shown."""
    actual = size_bytes(human_bytes(count))

    assert count == pytest.approx(actual, rel=0.06, abs=1)


@given(st.integers(min_value=0, max_value=2**40), st.sampled_from(["", "K", "MiB", "g", "TB"]))
def test_more_is_never_less(count: int, unit: str) -> None:
    """With the same unit, a larger number is a larger size."""
    smaller, larger = size_bytes(f"{count}{unit}"), size_bytes(f"{count + 1}{unit}")

    assert smaller < larger


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    """No text makes the readers fail with anything but ValueError, or gives a negative number."""
    for read in (seconds, size_bytes, fraction):
        try:
            value = read(text)
        except ValueError:
            continue

        assert value >= 0


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1610612736, "1.5 GiB"), (KIB**5, "1024 TiB")],
)
def test_bytes_for_people(count: int, expected: str) -> None:
    """Bytes are shown in the largest binary unit that keeps them at 1 or more."""
    actual = human_bytes(count)

    assert expected == actual


@pytest.mark.parametrize(
    ("count", "expected"), [(0.25, "250ms"), (1, "1s"), (90, "1.5m"), (100, "100s"), (300, "5m"), (5400, "1.5h")]
)
def test_seconds_for_people(count: float, expected: str) -> None:
    """Seconds are shown in hours or minutes when that takes at most a half."""
    actual = human_seconds(count)

    assert expected == actual
