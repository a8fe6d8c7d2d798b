"""Does a line wait for who does not read, and for how long?"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from launcher.line_writer import LineWriter

LINE = "x" * 99 + "\n"
PATIENCE_S = 0.2
KINDS = ["pipe", "socket"]


class Ends:
    """A small pipe (or socket) and a writer to it."""

    def __init__(self, kind: str) -> None:
        if kind == "pipe":
            self.read, self.write = os.pipe()
            if sys.platform == "linux":
                fcntl.fcntl(self.write, fcntl.F_SETPIPE_SZ, 4096)
        else:
            read, write = socket.socketpair()
            write.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            self.read, self.write = read.detach(), write.detach()
        self.writer = LineWriter(self.write, PATIENCE_S, lambda lines: f"{lines} lost\n")

    def fill(self) -> int:
        """Write until a line is dropped; return how many got through."""
        count = 0
        while not self.writer.dropped:
            self.writer.write(LINE)
            count += 1
        return count - 1

    def drain(self) -> list[str]:
        """Return the lines that are there."""
        os.set_blocking(self.read, False)
        text = b""
        try:
            while more := os.read(self.read, 1 << 20):
                text += more
        except BlockingIOError:
            pass
        return text.decode().splitlines(keepends=True)


@pytest.fixture(params=KINDS)
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    """Return a pipe and a socket in turn."""
    made = Ends(request.param)
    yield made
    made.writer.close()
    os.close(made.read)
    os.close(made.write)


def test_one_line_waits_and_no_more(ends: Ends) -> None:
    """The first line that finds no room waits for a moment; those after it do not."""
    ends.fill()
    began = time.monotonic()
    for _ in range(100):
        ends.writer.write(LINE)
    took = time.monotonic() - began

    assert 101 == ends.writer.dropped
    assert took < PATIENCE_S


def test_the_shared_description_still_blocks(ends: Ends) -> None:
    """The application's own prints, and whoever started us, write as ever."""
    ends.fill()

    assert os.get_blocking(ends.write)


def test_what_was_dropped_is_said(ends: Ends) -> None:
    """Once somebody reads, the number comes before the next line, and patience is there again."""
    through = ends.fill()
    ends.writer.write(LINE)
    before = ends.drain()
    ends.writer.write(LINE)

    assert [LINE] * through == before
    assert ["2 lost\n", LINE] == ends.drain()
    assert 0 == ends.writer.dropped


def test_a_slow_reader_loses_nothing(ends: Ends) -> None:
    """Somebody who reads within the time gets every line."""
    text: list[bytes] = []

    def read() -> None:
        while not b"".join(text).endswith(b"end\n"):
            time.sleep(PATIENCE_S / 20)  # what a slow reader does
            text.append(os.read(ends.read, 4096))

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(300):
        ends.writer.write(LINE)
    ends.writer.write("end\n")
    thread.join(20)

    assert 0 == ends.writer.dropped
    assert LINE.encode() * 300 + b"end\n" == b"".join(text)


def test_no_line_is_cut(ends: Ends) -> None:
    """Of one that is longer than the room the rest comes before the next."""
    long = "y" * 1_000_000 + "\n"
    ends.writer.write(long)
    got = "".join(ends.drain())
    while not got.endswith(LINE):
        ends.writer.write(LINE)
        got += "".join(ends.drain())
    first, lost, line = got.splitlines(keepends=True)

    assert long == first
    assert lost.endswith(" lost\n")
    assert LINE == line


def test_another_file_in_its_place(ends: Ends) -> None:
    """Somebody redirects the descriptor (gunicorn's capture of the output): lines go where it leads now."""
    read, write = os.pipe()
    ends.writer.write(LINE)
    os.dup2(write, ends.write)
    ends.writer.write("there\n")

    assert [LINE] == ends.drain()
    assert b"there\n" == os.read(read, 100)
    os.close(read)
    os.close(write)


def test_a_reader_that_is_gone() -> None:
    """It raises what a write would, for the caller to pass over."""
    read, write = os.pipe()
    writer = LineWriter(write, PATIENCE_S, str)
    writer.write(LINE)
    os.close(read)
    with pytest.raises(BrokenPipeError):
        writer.write(LINE)
    writer.close()
    os.close(write)
