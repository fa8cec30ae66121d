"""Voices as cards, and the lists to choose one from."""

from __future__ import annotations

import html

from rvc_colab.errors import RVCError
from rvc_colab.store.voices import VoiceCard, list_voices, show_voice
from rvc_colab.ui.page import Page
from rvc_colab.ui.pictures import table
from rvc_colab.ui.texts import say


def voice_choices(page: Page) -> list[str]:
    """List the names of the usable voices."""
    return [card.name for card in list_voices(page.workspace) if not card.problem]


def cards(page: Page, search: str | None, language: str, chosen: str | None = None) -> str:
    """Draw the cards of the voices whose name or description holds the searched words.

    A click on a card chooses its voice (`assets/page.js`).
    """
    words = (search or "").casefold().split()
    found = [
        card
        for card in list_voices(page.workspace)
        if all(word in f"{card.name} {card.summary} {card.info}".casefold() for word in words)
    ]
    if not found:
        return f'<p class="rvc-card">{html.escape(say("voices.none", language))}</p>'
    drawn = "".join(
        f'<button type="button" class="rvc-pick" data-voice="{html.escape(card.name)}" '
        f'aria-pressed="{str(card.name == chosen).lower()}">{card_text(card, language)}</button>'
        for card in found
    )
    return f'<div class="rvc-cards">{drawn}</div>'


def card_of_name(page: Page, name: str | None, language: str) -> str:
    """Draw the card of one voice; empty when there is none of that name."""
    if not name:
        return ""
    try:
        return card_text(show_voice(page.voice(name), page.workspace), language)
    except RVCError as error:
        return f'<div class="rvc-card rvc-problem">{html.escape(error.message)}</div>'


def card_text(card: VoiceCard, language: str) -> str:
    """Draw one card."""
    name = html.escape(card.name)
    if card.problem:
        problem = f'<p class="rvc-problem">{html.escape(card.problem)}</p>'
        return f'<div class="rvc-card"><strong>{name}</strong>{problem}</div>'
    facts = [
        card.version,
        f"{card.sample_rate / 1000:g} kHz",
        say("card.pitch" if card.has_f0 else "card.no_pitch", language),
        say("card.encoder", language, name=card.encoder or "–"),
        say("card.index" if card.index else "card.no_index", language),
    ]
    if card.epoch is not None:
        facts.append(say("card.epoch", language, number=card.epoch))
    facts.append(f"{card.size / 1e6:.1f} MB")
    notes = "".join(f"<br><small>{html.escape(text)}</small>" for text in card.warnings)
    text = html.escape(" · ".join(facts))
    return f'<div class="rvc-card"><strong>{name}</strong><br>{text}{notes}</div>'


def info_table(card: VoiceCard) -> str:
    """Say everything that is known of a voice; of places only the names of the files."""
    known = card.record() | {"path": card.path.name, "index": card.index and card.index.name}
    rows = [
        (key.replace("_", " "), ", ".join(value) if isinstance(value, list) else value)
        for key, value in known.items()
        if value not in (None, "", [])
    ]
    return f'<div class="rvc-card">{table((card.name, ""), rows)}</div>'
