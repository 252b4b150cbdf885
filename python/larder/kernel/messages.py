"""Small pieces of the message format that Python code sees: headers, bundles, JSON-safe values."""

from __future__ import annotations

import base64
import os
import uuid
from datetime import UTC, datetime
from typing import Any

SESSION = uuid.uuid4().hex


def header_of(message: dict[str, Any]) -> dict[str, Any]:
    """The header of ``message``, which may itself be one."""
    return message.get("header", message) if isinstance(message, dict) else {}


def message(
    msg_type: str, content: dict[str, Any], parent: dict[str, Any] | None = None, metadata=None
) -> dict[str, Any]:
    """A message as hooks and libraries get to see it; the server signs and numbers the one that is sent."""
    msg_id = uuid.uuid4().hex
    header = {
        "msg_id": msg_id,
        "msg_type": msg_type,
        "username": os.environ.get("USER", "kernel"),
        "session": SESSION,
        "date": datetime.now(UTC),
        "version": "5.5",
    }
    return {
        "header": header,
        "msg_id": msg_id,
        "msg_type": msg_type,
        "parent_header": header_of(parent or {}),
        "metadata": metadata or {},
        "content": content,
    }


def clean_bundle(data: dict[str, Any]) -> dict[str, Any]:
    """A mime bundle with its bytes (images, PDF) as base64 text."""
    for value in data.values():
        if isinstance(value, (bytes, bytearray, memoryview)):
            break
    else:
        return data
    return {
        mime: base64.b64encode(value).decode("ascii") if isinstance(value, (bytes, bytearray, memoryview)) else value
        for mime, value in data.items()
    }
