"""Dialogues: messages of a system, a user and an assistant, as ids of tokens.

A message is the mark of its role, the tokens of what is said, and the mark of the end. Marks are ids of this project
that no text is encoded as, whatever a user writes (`gssl.vocabulary`).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from gssl.errors import UsageError
from gssl.vocabulary import ASSISTANT, EOS, SYSTEM, USER

Message = tuple[str, str]  # role, content
MARKS = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}
EXPECTED = 'expected a list of {"role": system, user or assistant, "content": a text}'


def read(value: Any, where: str) -> tuple[Message, ...]:
    """The messages of a row, without those that are empty. where: its file and line, for the UsageError where they are
    anything else."""
    if not isinstance(value, list) or not value:
        raise UsageError(f"data.root: {where}: messages: {EXPECTED}; correct it")
    found = []
    for number, message in enumerate(value):
        at = f"data.root: {where}: messages[{number}]"
        if not isinstance(message, dict):
            raise UsageError(f"{at}: {EXPECTED}; correct it")
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or role not in MARKS:
            raise UsageError(f"{at}.role={role}: expected {', '.join(MARKS)}; correct it")
        if role == "system" and number:
            raise UsageError(f"{at}.role=system: expected at the beginning alone; move it, or make it a user's")
        if not isinstance(content, str):
            raise UsageError(f"{at}.content: expected a text; correct it, or remove the message")
        if "\0" in content:
            raise UsageError(f"{at}.content: has a zero byte: it is no text; remove it")
        if content.strip():
            found.append((role, content.replace("\r\n", "\n").removeprefix("\ufeff")))
    if not any(role == "assistant" for role, _ in found):
        raise UsageError(
            f"data.root: {where}: messages: the assistant says nothing; expected at least one such message"
        )
    return tuple(found)


def marked(role: str, ids: np.ndarray) -> np.ndarray:
    """A message with its marks."""
    return np.concatenate([[MARKS[role]], ids, [EOS]]).astype(np.int64)


def exchanges(messages: Iterable[tuple[str, np.ndarray]]) -> list[np.ndarray]:
    """Messages with their marks, put together up to where somebody speaks behind the assistant."""
    found: list[list[np.ndarray]] = []
    before = None
    for role, ids in messages:
        if before is None or (before == "assistant" and role != "assistant"):
            found.append([])
        found[-1].append(marked(role, ids))
        before = role
    return [np.concatenate(own) for own in found]


def pieces(own: list[np.ndarray], size: int) -> tuple[list[np.ndarray], bool]:
    """Exchanges as pieces of at most `size` ids, each of whole exchanges, as many as fit; and whether one by itself is
    longer and is cut off at its end."""
    found: list[np.ndarray] = []
    for ids in own:
        if found and len(found[-1]) + len(ids) <= size:
            found[-1] = np.concatenate([found[-1], ids])
        else:
            found.append(ids[:size])
    return found, any(len(ids) > size for ids in own)
