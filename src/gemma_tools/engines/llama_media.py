"""Images and audio as llama-server's `/completion` takes them: the data, and in the prompt a marker for each.

Source: llama.cpp, tools/server/README.md (`multimodal_data`, pull request 15108) and tools/mtmd/mtmd.cpp. The server puts the
model's own tokens before and after each of them.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Final

from gemma_tools.errors import EngineProtocolError, InvalidRequest
from gemma_tools.prompt import MEDIA_CONTROLS, MEDIA_GAPS, WORD_JOINER, Prompt

_MODALITIES: Final = {"image": "vision", "audio": "audio"}
"""The kinds of media, and what `/props` calls them."""
_MARKERS: Final = ("<__media__>", "<__image__>")
"""The markers of servers that do not tell theirs; today's is drawn anew for each process."""


def refuse_unseen(media: Sequence[Mapping[str, Any]], properties: Mapping[str, Any], engine: str) -> None:
    """Refuse media that the server has no projector for. `properties` are those of its `/props`.

    Raises:
        InvalidRequest: naming the part.
    """
    modalities = properties.get("modalities", {})
    for number, part in enumerate(media):
        if not modalities.get(_MODALITIES.get(part["type"])):
            kind = part["type"]
            reason = f"{engine} takes no {kind} without a projector: pass mmproj=, or start its server with --mmproj"
            message = f"media part {number} of the request ({kind}): {reason}"
            raise InvalidRequest(message, param="messages", code="unsupported_media")


def media_prompt(
    prompt: Prompt, properties: Mapping[str, Any], *, begins: Container[str], spelled: Iterable[str]
) -> dict[str, str | list[str]]:
    """The prompt with its media for `/completion`, in which no text becomes a token or an image, whatever it spells.

    `begins` holds the special token that the server itself puts before a prompt, and `spelled` the tokens that the format does
    not know and a text spells: they are broken as the format's own are.

    Raises:
        InvalidRequest: there is not one placeholder for each image and sound.
        EngineProtocolError: the server's marker cannot be kept out of the text.
    """
    marker = str(properties.get("media_marker") or _MARKERS[0])
    spellings = re.compile("|".join(map(re.escape, (marker, *_MARKERS, *sorted(spelled, key=len, reverse=True)))))
    parts: list[str] = []
    places = 0
    for number, segment in enumerate(prompt.segments):
        text = segment.text
        if not segment.control:
            text = spellings.sub(lambda found: found[0][0] + WORD_JOINER + found[0][1:], prompt.guard(text))
        elif text in MEDIA_CONTROLS:
            places += 1
            gap = MEDIA_GAPS.get(text, "")
            text = gap + marker + gap
        elif number == 0 and text in begins:
            continue
        parts.append(text)
    string = "".join(parts)
    if places != len(prompt.media):
        raise InvalidRequest(f"the prompt has {places} places for {len(prompt.media)} images and audio", param="messages")
    if string.count(marker) != places:
        raise EngineProtocolError(f"the server's marker for media, {marker!r}, is part of the prompt's text")
    return {"prompt_string": string, "multimodal_data": [b64encode(part["data"]).decode() for part in prompt.media]}
