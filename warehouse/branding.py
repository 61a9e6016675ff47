"""A tenant's own name, logo and colours in its pages."""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import psycopg
from PIL import Image
from psycopg.errors import CheckViolation

from warehouse import ownership
from warehouse.audit import Actor, record, without_personal
from warehouse.errors import UsageError

MAXIMUM_BYTES = 262_144
MAXIMUM_PIXELS = 2_000  # a side
# Told by content, whatever the file is called. No SVG: it can carry scripts.
FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
# WCAG 2: text of this colour on white, and white text on it, can be read.
MINIMUM_CONTRAST = 4.5


@dataclass(frozen=True)
class Logo:
    """Bytes of an image we wrote ourselves, and their media type."""

    content: bytes
    media_type: str


def read_logo(path: Path) -> Logo:
    """Decode an image and write it anew: no metadata, no second file behind the first.

    Raises UsageError unless it is a PNG, JPEG or WebP of at most 256 KiB and 2000 pixels a side.
    """
    try:
        content = path.read_bytes() if path.stat().st_size <= MAXIMUM_BYTES else None
    except OSError as error:
        raise UsageError(f"--logo {path}: {error.strerror}") from None
    if content is None:
        raise UsageError(f"--logo {path}: more than {MAXIMUM_BYTES // 1024} KiB")
    return clean_logo(content, f"--logo {path}")


def clean_logo(content: bytes, source: str) -> Logo:
    """`read_logo` of bytes; `source` begins the message of the UsageError."""
    try:
        # A bomb is known by its size, before anything is decoded. No filter of warnings here: they
        # are the whole process's, and pages run beside this.
        image = Image.open(io.BytesIO(content), formats=list(FORMATS))
        if max(image.size) > MAXIMUM_PIXELS:
            raise UsageError(f"{source}: more than {MAXIMUM_PIXELS} pixels a side")
        image.load()
    except UsageError:
        raise
    except Exception as error:  # decoders raise what they like on hostile bytes
        raise UsageError(f"{source}: not a readable PNG, JPEG or WebP image") from error
    kind = str(image.format)
    # Only pixels go over.
    pixels = image.convert("RGB" if kind == "JPEG" or not _has_alpha(image) else "RGBA")
    written = io.BytesIO()
    pixels.save(written, kind, **({"lossless": True} if kind == "WEBP" else {}))
    if written.tell() > MAXIMUM_BYTES:
        raise UsageError(f"{source}: more than {MAXIMUM_BYTES // 1024} KiB once written anew")
    return Logo(written.getvalue(), FORMATS[kind])


def _has_alpha(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info


def contrast(color: str, other: str) -> float:
    """WCAG 2 contrast of two #rrggbb colours, 1 to 21."""
    lighter, darker = sorted((_luminance(color), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    channels = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def check_color(option: str, value: str) -> str:
    """The colour in lower case. Raises UsageError unless #rrggbb and readable on white."""
    color = value.strip().lower()
    if not re.fullmatch(r"#[0-9a-f]{6}", color):
        raise UsageError(f"{option} {value!r}: six hexadecimal digits such as #0b5cad")
    found = contrast(color, "#ffffff")
    if found < MINIMUM_CONTRAST:
        raise UsageError(
            f"{option} {value!r}: contrast with white is {found:.1f}, at least "
            f"{MINIMUM_CONTRAST} is needed: take a darker one"
        )
    return color


def set_branding(
    owner_dsn: str,
    slug: str,
    actor: Actor,
    *,
    display_name: str | None = None,
    primary_color: str | None = None,
    accent_color: str | None = None,
    logo: Logo | None = None,
    clear: bool = False,
) -> None:
    """Change what is given, keep the rest; `clear` goes back to Mirante's own look first.

    Raises UsageError on an unknown tenant, an empty or long name, an unreadable colour.
    """
    given = {
        "display_name": display_name.strip() if display_name is not None else None,
        "primary_color": check_color("--color", primary_color) if primary_color else None,
        "accent_color": check_color("--accent", accent_color) if accent_color else None,
        "logo": logo.content if logo else None,
        "logo_type": logo.media_type if logo else None,
    }
    with psycopg.connect(owner_dsn) as connection:
        tenant = ownership.find_tenant(connection, slug)
        if clear:
            connection.execute("delete from app.tenant_branding where tenant_id = %s", [tenant.id])
        try:
            if any(value is not None for value in given.values()):
                connection.execute(
                    """
                    insert into app.tenant_branding as kept (
                        tenant_id, display_name, primary_color, accent_color, logo, logo_type
                    )
                    values (
                        %(tenant_id)s, %(display_name)s, %(primary_color)s, %(accent_color)s,
                        %(logo)s, %(logo_type)s
                    )
                    on conflict (tenant_id) do update set
                        display_name = coalesce(excluded.display_name, kept.display_name),
                        primary_color = coalesce(excluded.primary_color, kept.primary_color),
                        accent_color = coalesce(excluded.accent_color, kept.accent_color),
                        logo = coalesce(excluded.logo, kept.logo),
                        logo_type = coalesce(excluded.logo_type, kept.logo_type),
                        updated_at = now()
                    """,
                    {"tenant_id": tenant.id, **given},
                )
        except CheckViolation:
            raise UsageError(f"--name {display_name!r}: 1 to 80 characters") from None
        record(
            connection, "tenant.brand", actor=actor, tenant_id=tenant.id,
            target=f"tenant:{tenant.id}",
            after=without_personal({
                name: f"{len(value):,} bytes" if isinstance(value, bytes) else value
                for name, value in given.items() if value is not None
            }) | ({"cleared": True} if clear else {}),
        )  # fmt: skip
        ownership.touch(connection, tenant.id)
    ownership.raise_data_version(owner_dsn)
