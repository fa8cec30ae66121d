"""Name what a file is by its first bytes, for errors that say what was found instead."""

from __future__ import annotations

HEAD_BYTES = 64  # enough to know every kind below


def accident(head: bytes) -> str:
    """Name the classic accident of a download by the file's first bytes; empty if it is none.

    An error page saved under the name of the weights is the most frequent one.
    """
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:HEAD_BYTES].lower()
    if not head:
        return "an empty file"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        return "a web page saved under this name (the download failed)"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer without its content"
    if start.startswith((b'{"error', b'{"message', b"access denied", b"invalid username")):
        return "an error message saved under this name (the download failed)"
    return ""


def other_content(head: bytes) -> str:
    """Name content that is whole but belongs elsewhere; empty if it is not known."""
    if head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04")):
        return "a zip, a voice or another pickle"
    if head.startswith(b"\x93NUMPY"):
        return "a NumPy array"
    return ""
