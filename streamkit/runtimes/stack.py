"""The letters of a queue, gathered so that they can be put in order."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from streamkit.core.envelope import PayloadOmitted, Unreadable, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streamkit.core.letters import Letter
    from streamkit.ports import Held
    from streamkit.runtimes.grip import Grip

_EMPTY = 2
"""Answers in a row without a letter after which none is in sight: one alone proves little."""
_TEN = 10


class Stack:
    """Letters by record: a record's copies are one letter, to be deleted together."""

    def __init__(self) -> None:
        self.letters: dict[str, Letter] = {}
        self.omitted: dict[str, Letter] = {}
        """Letters that hold no payload, which was too large for the queue, and do not know of it elsewhere."""
        self.elsewhere: dict[str, PayloadOmitted] = {}
        """What those of `letters` say that know where their payload is."""
        self.unreadable = 0
        self.complete = False
        """Whether nothing more was in sight, when the last gathering ended."""
        self._copies: defaultdict[str, list[Held]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self.letters) + len(self.omitted) + self.unreadable

    async def gather(self, grip: Grip, *, most: int, told: Callable[[int], None] = lambda _: None) -> bool:
        """Take what is in sight, up to `most` letters in all; return whether anything came."""
        before, empty, self.complete = len(grip), 0, False
        while len(grip) < most:
            taken = await grip.take(min(_TEN, most - len(grip)))
            for each in taken:
                self._add(each)
            told(len(grip))
            empty = 0 if taken else empty + 1
            if empty == _EMPTY:
                self.complete = True
                break
        return len(grip) > before

    def copies(self, letters: Iterable[Letter]) -> Sequence[Held]:
        """Return the messages of these letters."""
        return [held for letter in letters for held in self._copies[letter.record.id]]

    def forget(self, letter: Letter) -> None:
        """Drop a letter that is settled."""
        self.letters.pop(letter.record.id, None)
        self.omitted.pop(letter.record.id, None)
        self.elsewhere.pop(letter.record.id, None)
        self._copies.pop(letter.record.id, None)

    def _add(self, held: Held) -> None:
        try:
            self._add_whole(read(held.body), held)
        except PayloadOmitted as bare:
            self._add_bare(bare, held)
        except Unreadable:
            self.unreadable += 1

    def _add_whole(self, letter: Letter, held: Held) -> None:
        """Note a letter with its payload: no copy says more."""
        name = letter.record.id
        self.letters[name] = letter
        self.elsewhere.pop(name, None)
        self.omitted.pop(name, None)
        self._copies[name].append(held)

    def _add_bare(self, bare: PayloadOmitted, held: Held) -> None:
        """Note a letter without its payload, unless a copy of it has one, or knows where it is."""
        name = bare.letter.record.id
        self._copies[name].append(held)
        if name in self.letters:
            return
        if bare.kept is None:
            self.omitted[name] = bare.letter
            return
        self.letters[name], self.elsewhere[name] = bare.letter, bare
        self.omitted.pop(name, None)
