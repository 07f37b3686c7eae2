"""Images and audio for llama-server's `/completion`: the data, and a marker for each in the prompt.

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
"""The kinds of media, and their names in `/props`."""
_MARKERS: Final = ("<__media__>", "<__image__>")
"""The markers of servers that do not report theirs; current servers choose a random one for each process."""


def refuse_unseen(media: Sequence[Mapping[str, Any]], properties: Mapping[str, Any], engine: str) -> None:
    """Refuse media that the server has no projector for. `properties` come from its `/props`.

    Raises:
        InvalidRequest: names the part.
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
    """The prompt with its media for `/completion`, in which no text becomes a token or an image, whatever it contains.

    `begins` contains the special token that the server itself adds before a prompt, and `spelled` the tokens that appear in a
    text and that the format does not know: they are broken like the format's own.

    Raises:
        InvalidRequest: the number of placeholders is not the number of images and audio clips.
        EngineProtocolError: the server's marker is in the prompt's text.
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
