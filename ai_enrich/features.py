"""What the local model looks at: words with their side and place, an outline, texts to embed."""

import math
import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

from ai_enrich.injection import without_instructions
from ai_enrich.schema import Conversation, Message, Sender

# The newest characters of a view: what a conversation costs does not grow with its length.
WHOLE_CHARACTERS = 500
CONTACT_CHARACTERS = 300
LAST_CHARACTERS = 200
# Word features of long conversations: the newest messages decide.
NEWEST_MESSAGES = 60

SPEAKERS: dict[Sender, str] = {"contact": "Cliente", "agent": "Atendente", "bot": "Robô"}
WORD = re.compile(r"\w+|[?!]+|[^\w\s]")


def fold(text: str) -> str:
    """Lower case, no accents, every digit a 0."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return re.sub(r"\d", "0", plain)


def readable(conversation: Conversation) -> Conversation:
    """The conversation as the model may see it: nothing that addresses the model itself."""
    messages = []
    for message in conversation.messages[-NEWEST_MESSAGES:]:
        text = message.text
        if message.sender == "contact":
            text = without_instructions(text)
        if text.strip():
            messages.append(Message(message.id, message.sender, text))
    return Conversation(tuple(messages))


def words(conversation: Conversation) -> list[str]:
    """Words and pairs of words, each with who said it and where.

    `c:` contact, `a:` agent or bot; besides `f:` the first message, `l:` the contact's last,
    `q:` what it answers, `t:` what followed it.
    """
    return [token for tokens in words_by_message(conversation) for token in tokens]


def words_by_message(conversation: Conversation) -> Iterator[list[str]]:
    """The tokens of `words`, message by message."""
    messages = conversation.messages
    last = _last_contact_position(conversation)
    for position, message in enumerate(messages):
        single = WORD.findall(fold(message.text))
        grams = single + [f"{one}_{two}" for one, two in pairwise(single)]
        side = "c" if message.sender == "contact" else "a"
        prefixes = [side]
        if position == last:
            prefixes.append("l")
        elif position == last - 1 and side == "a":
            prefixes.append("q")
        elif position > last:
            prefixes.append("t")
        tokens = [f"{prefix}:{gram}" for prefix in prefixes for gram in grams]
        if position == 0 and side == "c":
            tokens += [f"f:{word}" for word in single]
        yield tokens


def views(conversation: Conversation) -> tuple[str, str, str]:
    """Texts to embed: the whole conversation, the contact's part, the contact's last message."""
    whole = "\n".join(
        f"{SPEAKERS[message.sender]}: {message.text}" for message in conversation.messages
    )
    said = [message.text for message in conversation.messages if message.sender == "contact"]
    contact = "\n".join(said)[-CONTACT_CHARACTERS:]
    last = said[-1][-LAST_CHARACTERS:] if said else ""
    return whole[-WHOLE_CHARACTERS:] or "-", contact or "-", last or "-"


def _last_contact_position(conversation: Conversation) -> int:
    positions = [
        position
        for position, message in enumerate(conversation.messages)
        if message.sender == "contact"
    ]
    return positions[-1] if positions else -1


# The names of `shape`, in its order.
SHAPE = (
    "messages", "contact_messages", "other_messages", "unanswered_at_end", "contact_is_last",
    "left_unanswered_twice", "contact_never_wrote", "business_began", "contact_wrote_once",
    "contact_length", "last_asks", "last_exclaims", "asks", "shouts", "has_placeholder",
    "has_bot", "has_agent",
)  # fmt: skip


def shape(conversation: Conversation) -> list[float]:
    """Numbers of the conversation's outline, named by SHAPE; the model scales them."""
    messages = conversation.messages
    said = [message.text for message in messages if message.sender == "contact"]
    senders = {message.sender for message in messages}
    text, last = " ".join(said), said[-1] if said else ""
    letters = [letter for letter in text if letter.isalpha()]
    unanswered = len(messages) - 1 - _last_contact_position(conversation)
    return [
        math.log1p(len(messages)),
        math.log1p(len(said)),
        math.log1p(len(messages) - len(said)),
        min(unanswered, 3) / 3,
        unanswered == 0,
        unanswered >= 2,
        not said,
        not messages or messages[0].sender != "contact",
        len(said) == 1,
        math.log1p(len(text)),
        "?" in last,
        "!" in last,
        "?" in text,
        sum(letter.isupper() for letter in letters) > len(letters) / 2,
        "[" in text,
        "bot" in senders,
        "agent" in senders,
    ]
