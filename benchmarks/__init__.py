"""Programs that measure; tests do not time things."""
