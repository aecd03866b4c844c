"""A conversation over a stats socket: lines in, answers out, until the client or the
protocol ends it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

from lbsplice.admin.commands import Client, Context, Said
from lbsplice.admin.commands_all import Table
from lbsplice.admin.lines import Connection, Gone
from lbsplice.admin.protocol import (
    MORE,
    MOST_BYTES,
    NOTHING,
    Line,
    LineReader,
    TooLong,
    prompt,
    render,
)
from lbsplice.config.model import Config
from lbsplice.errors import LbspliceError
from lbsplice.terms import LogLevel

DENIED = "Permission denied"
_GATHERED = 16384
"""Characters of a listing that travel together."""


class Conversation:
    """`run` it once; the connection stays the caller's to close."""

    def __init__(
        self,
        connection: Connection,
        table: Table,
        context: Context,
        config: Callable[[], Config],
    ) -> None:
        self._connection = connection
        self._table = table
        self._context = context
        self._config = config  # a reload may come in the middle
        self._reader = LineReader()
        client = context.client
        client.send_descriptors = self._write_descriptors
        client.read_exactly = self._read_exactly
        client.heard = self._heard
        client.has_left = connection.has_left

    @property
    def _client(self) -> Client:
        return self._context.client

    async def run(self) -> None:
        """To the end. What goes wrong on the line ends it and is nobody's fault."""
        with contextlib.suppress(Gone):
            try:
                await self._talk()
            except TooLong as what:
                told = Said(f"The {what} has more than {MOST_BYTES} bytes.", LogLevel.ERR)
                await self._write(self._rendered(told) + "\n")

    async def _talk(self) -> None:
        """One line, and more of them once it is interactive. HAProxy 3.x does not look at
        what follows the line either."""
        while (line := await self._next()) is not None:
            await self._obey(line)
            if self._client.closing or not self._client.interactive:
                return

    async def _next(self) -> Line | None:
        """The next line; None: there will be none."""
        loop = asyncio.get_running_loop()
        since = loop.time()
        while (line := await self._line()) is None:
            timeout_s = self._client.timeout_s
            if timeout_s is not None:
                timeout_s = max(0.0, since + timeout_s - loop.time())
            data = await self._connection.read(timeout_s)
            if not data:
                return None
            if b"\n" in data:
                since = loop.time()
            self._reader.feed(data)
        return line

    async def _line(self) -> Line | None:
        """The next line if it has come."""
        line = self._reader.line()
        more, self._reader.asks_for_more = self._reader.asks_for_more, 0
        if more and self._client.prompt:
            await self._write(MORE * more)
        return line

    async def _obey(self, line: Line) -> None:
        last = len(line.commands) - 1
        for number, words in enumerate(line.commands):
            await self._carry_out(words, line.payload if number == last else None)
            if self._client.closing:
                return

    async def _carry_out(self, words: tuple[str, ...], payload: str | None) -> None:
        """One command and its whole answer."""
        self._context.config = self._config()
        try:
            answer = self._answer(words, payload)
            if inspect.isawaitable(answer):
                answer = await answer
            text = await self._tell(answer)
        except LbspliceError as why:
            text = self._rendered(Said(str(why), LogLevel.ERR))
        if not self._client.closing:
            text += self._prompt()
        if text:
            await self._write(text)

    def _answer(self, words: tuple[str, ...], payload: str | None) -> object:
        if words == (NOTHING,):
            return ""
        command = self._table.find(words)
        if command is None:
            return Said(self._table.unknown(self._context.level, words), LogLevel.INFO)
        if command.level > self._context.level:
            return Said(DENIED, LogLevel.ERR)
        return command.handler(self._context, list(words[len(command.words) :]), payload)

    async def _tell(self, answer: object) -> str:
        """Send a listing; what is left to be sent, or the whole of a short answer."""
        if isinstance(answer, str | Said):
            return self._rendered(answer)
        if isinstance(answer, AsyncIterator):
            return await self._tell_as_it_comes(answer)
        assert isinstance(answer, Iterator), answer
        return await self._tell_gathered(answer)

    async def _tell_as_it_comes(self, pieces: AsyncIterator[str]) -> str:
        last = "\n"
        try:
            async for piece in pieces:
                if piece:
                    await self._write(piece)
                    last = piece
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()  # what it holds is let go before the client is
        return "" if last.endswith("\n") else "\n"

    async def _tell_gathered(self, pieces: Iterator[str]) -> str:
        gathered: list[str] = []
        size = 0
        last = "\n"
        for piece in pieces:
            if not piece:
                continue
            gathered.append(piece)
            size += len(piece)
            last = piece
            if size >= _GATHERED:
                await self._write("".join(gathered))
                gathered, size = [], 0
        if not last.endswith("\n"):
            gathered.append("\n")
        return "".join(gathered)

    def _rendered(self, answer: str | Said) -> str:
        return render(answer, self._client.severity_output)

    def _prompt(self) -> str:
        client = self._client
        timed = client.prompt and client.timed
        uptime_s = self._context.control.view().process.uptime_s if timed else 0.0
        return prompt(shown=client.prompt, timed=timed, uptime_s=uptime_s)

    async def _write(self, text: str) -> None:
        data = text.encode("utf-8", "surrogateescape")
        await self._connection.write(data, self._client.timeout_s)

    async def _write_descriptors(self, numbers: list[int], data: bytes) -> None:
        await self._connection.write_descriptors(numbers, data, self._client.timeout_s)

    async def _heard(self) -> None:
        if not self._reader.take():
            await self._connection.read(None)

    async def _read_exactly(self, count: int) -> bytes:
        """Bytes that are no line. Raises Gone."""
        data = self._reader.take()
        while len(data) < count:
            piece = await self._connection.read(self._client.timeout_s)
            if not piece:
                raise Gone
            data += piece
        self._reader.feed(data[count:])
        return data[:count]
